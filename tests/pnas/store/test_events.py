"""Learning curves and hyperparameters for TensorBoard, as TensorBoard reads them."""

import math

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import backend_context, metadata
from tensorboard.util.tensor_util import make_ndarray

from pnas.child import Child
from pnas.store.events import Events

CELL = [0, "linear", 0, "3x3 bconv", 1, "linear", 0, "linear"]


HISTORY = {"loss": [0.5, 0.25, 0.125], "sign_flips": [0.25, 0.125, 0.0]}


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path, ["3x3 bconv", "5x5 bconv", "linear"])


def child(number=7, predicted=0.5, **other):
    return Child(number, CELL, predicted, seed=1, reward=0.75, history=HISTORY, **other)


def read(folder):
    """(dict, tag -> list of (step, value); dict, tag -> content for the hyperparameter page) of a run."""
    run = EventAccumulator(str(folder)).Reload()
    curves, pages = {}, {}
    for tag in run.Tags()["tensors"]:
        plugin = run.SummaryMetadata(tag).plugin_data
        if plugin.plugin_name == "scalars":
            curves[tag] = [(event.step, make_ndarray(event.tensor_proto).item()) for event in run.Tensors(tag)]
        else:
            pages[tag] = plugin.content
    return curves, pages


def test_a_child_has_learning_curves_and_a_reward(tmp_path, events):
    events.write_child(child())
    curves, _ = read(tmp_path / "children" / "0007")
    assert curves == {
        "child/loss": [(1, 0.5), (2, 0.25), (3, 0.125)],
        "child/sign_flips": [(1, 0.25), (2, 0.125), (3, 0.0)],
        "child/reward": [(7, 0.75)],
        "child/predicted": [(7, 0.5)],
    }


def test_a_child_of_one_block_has_no_predicted_reward(tmp_path, events):
    events.write_child(child(predicted=math.nan))
    curves, _ = read(tmp_path / "children" / "0007")
    assert set(curves) == {"child/loss", "child/sign_flips", "child/reward"}


def test_a_childs_hyperparameters_are_its_blocks_and_operators(tmp_path, events):
    events.write_child(child())
    _, pages = read(tmp_path / "children" / "0007")
    start = metadata.parse_session_start_info_plugin_data(pages[metadata.SESSION_START_INFO_TAG])
    values = {name: value.number_value for name, value in start.hparams.items()}
    assert values == {"blocks": 2, "3x3 bconv": 1, "5x5 bconv": 0, "linear": 3}
    cell = "linear + 3x3 bconv | 1:linear + linear"
    assert start.group_name == f"{tmp_path.name}/0007: {cell}"
    run = EventAccumulator(str(tmp_path / "children" / "0007")).Reload()
    assert run.SummaryMetadata("child/cell").plugin_data.plugin_name == "text"
    assert make_ndarray(run.Tensors("child/cell")[0].tensor_proto).item().decode() == f"`{cell}`"


def test_the_hyperparameter_page_has_the_columns_of_all_searches(tmp_path):
    for name, operators in (("first", ["3x3 bconv", "linear"]), ("second", ["linear", "3x3 maxpool"])):
        Events(tmp_path / name, operators).write_child(child())
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    page = backend_context.Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(tmp_path))))
    request = RequestContext()
    found = page.experiment_from_metadata(
        request, "", True, page.hparams_metadata(request, ""), page.hparams_from_data_provider(request, "", None)
    )
    assert {info.name for info in found.hparam_infos} == {"blocks", "3x3 bconv", "linear", "3x3 maxpool"}
    assert {"child/reward", "child/predicted"} <= {info.name.tag for info in found.metric_infos}


def test_the_surrogate_has_its_loss_and_its_quality(tmp_path, events):
    events.write_fit(10, [0.5, 0.25])
    events.write_quality(2, {"spearman": 0.5, "top_5_recall": 1.0})
    events.write_quality(3, {"spearman": 0.25, "top_5_recall": 0.0})
    assert read(tmp_path / "surrogate" / "after_10_children")[0] == {"surrogate/training_loss": [(1, 0.5), (2, 0.25)]}
    assert read(tmp_path / "surrogate" / "quality")[0] == {
        "surrogate/spearman": [(2, 0.5), (3, 0.25)],
        "surrogate/top_5_recall": [(2, 1.0), (3, 0.0)],
    }


def test_a_fit_that_was_made_again_replaces_the_curve(tmp_path, events):
    for losses in ([0.5, 0.25], [0.5, 0.125]):
        events.write_fit(10, losses)
        events.write_quality(2, {"spearman": losses[1]})
    assert len([*tmp_path.rglob("events.*")]) == 2
    assert read(tmp_path / "surrogate" / "after_10_children")[0]["surrogate/training_loss"] == [(1, 0.5), (2, 0.125)]
    assert read(tmp_path / "surrogate" / "quality")[0]["surrogate/spearman"] == [(2, 0.125)]
