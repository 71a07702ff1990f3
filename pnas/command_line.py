"""The constants of a script as options of its command line."""

import argparse
import ast
import io
import itertools
import tokenize

TEXTS = ("EXPERIMENT_NAME", "DATA_DIR", "REPRESENTATION_STRING")  # taken from the command line as they are


def read_command_line(script, description):
    """What the command line says about the constants of a script.

    Args:
        script: path of the script. Its constants are the assignments at its top, before the first other statement; the
            comment on the right of each is its help.
        description: first lines of the help.
    Returns:
        dict of what was given: each constant as the Python literal that its text spells (or else the text itself), and
        `train_arc`, whether this flag was.
    """
    with open(script) as file:
        source = file.read()
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=120),
    )
    parser.add_argument(
        "--train_arc", action="store_true", default=False, help="train REPRESENTATION_STRING instead of searching"
    )
    statements = ast.parse(source).body[1:]  # behind the docstring
    for constant in itertools.takewhile(lambda statement: isinstance(statement, ast.Assign), statements):
        name = constant.targets[0].id
        text = f"{comments.get(constant.end_lineno, '')} (default: {ast.unparse(constant.value)})"
        kind = str if name in TEXTS else _literal
        parser.add_argument(f"--{name}", type=kind, metavar="VALUE", help=text.replace("%", "%%"))
    return vars(parser.parse_args())


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
