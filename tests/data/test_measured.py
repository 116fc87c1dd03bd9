"""The measurements that ship: complete, of today's protocol, and of the weights that ship."""

import pytest

from course_lib import bench, data, metrics, upscaling, weights

SETS = {"set14": ("Set14", 14), "kodak24": ("Kodak24", 24)}


@pytest.fixture(params=SETS)
def found(request) -> dict:
    return data.measured(request.param)


def test_measurements_say_how_they_came_about():
    for name in data.MEASURED:
        about = data.measured(name)
        assert about["command"].startswith("course-lib ")
        assert "/" not in about["command"], "a path of somebody's machine"
        assert about["date"] > "2026"
        assert about["machine"]
        assert about["torch"]


def test_quality_is_of_todays_protocol_and_whole_sets(found):
    name = found["folder"]
    assert (name, len(found["models"]["bicubic"]["images"])) in SETS.values()
    assert found["protocol"] == metrics.SR_PROTOCOL
    assert set(upscaling.UPSCALERS) <= found["models"].keys()
    for about in found["models"].values():
        assert about["scale"] == 4
        for key, mean in about["mean"].items():
            numbers = [image[key] for image in about["images"]]
            assert mean == pytest.approx(sum(numbers) / len(numbers))


def test_quality_is_that_of_the_cards(found):
    """A model that is trained anew is measured anew, by the same numbers of samples."""
    compared = 0
    for name, about in found["models"].items():
        if name in weights.names():
            card = weights.card(name)["details"]["benchmarks"].get(found["folder"], {})
            for key in card.keys() & about["mean"].keys():
                assert about["mean"][key] == pytest.approx(card[key], rel=1e-4), (name, key)
                compared += 1
    assert compared


def test_speed_is_of_todays_protocol_and_the_same_models(found):
    speed = data.measured("speed")
    assert speed["protocol"] == bench.PROTOCOL
    assert found["models"].keys() <= {row["model"] for row in speed["models"]}


def test_unknown_measurements_list_the_known():
    with pytest.raises(ValueError, match="no measurement 'urban100'; known: set14"):
        data.measured("urban100")
