"""The provider that is installed and the Python package know the same inputs."""

from importlib.metadata import version

import pulumi_docker

from toolchain.check_schema import camel, compare, difference, installed_schema, sdk_inputs


def test_names_are_written_as_on_the_wire() -> None:
    assert [camel(name) for name in ("memory_swap", "name", "type_", "read_only")] == ["memorySwap", "name", "type", "readOnly"]


def test_inputs_are_read_from_an_argument_class() -> None:
    assert {"name", "driver", "driverOpts", "labels"} <= sdk_inputs(pulumi_docker.VolumeArgs)


def test_equal_inputs_are_no_difference() -> None:
    assert difference("Volume", frozenset({"name"}), frozenset({"name"})) is None


def test_an_input_that_only_one_side_knows_is_named() -> None:
    text = difference("Volume", frozenset({"name", "old"}), frozenset({"name", "new"}))
    assert text == "Volume: only in the package ['old']; only in the provider ['new']"


def test_a_schema_that_lost_an_input_is_found() -> None:
    inputs = {name: {"type": "string"} for name in sdk_inputs(pulumi_docker.VolumeArgs) - {"driver"}}
    schema = {"resources": {"docker:index/volume:Volume": {"inputProperties": inputs}}, "types": {}}
    assert compare(schema) == (1, ("Volume: only in the package ['driver']; only in the provider []",))


def test_the_installed_provider_agrees_with_the_package() -> None:
    compared, differences = compare(installed_schema(version("pulumi-docker")))
    assert differences == ()
    assert compared > 80
