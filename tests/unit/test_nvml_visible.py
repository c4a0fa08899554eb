"""Which GPUs an application can see: each expectation is what the CUDA programming guide says of its variables."""

from __future__ import annotations

import pytest

from perun_like_sensors._cuda import Device, Slice, Visible, visible

ALIKE = {
    0: Device("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "A100", 100),
    1: Device("GPU-8932aaaa-0000-4106-c12f-20bd9faed9f6", "A100", 100),
    2: Device(
        "GPU-11111111-d72c-4106-c12f-20bd9faed9f6",
        "A100",
        100,
        (Slice("MIG-5af2-1", "1/0"), Slice("MIG-77b0-2", "2/0")),
    ),
}
MIXED = {0: Device("GPU-a", "T400", 10), 1: Device("GPU-b", "H100", 900), 2: Device("GPU-c", "T400", 10)}


@pytest.mark.parametrize(
    ("listed", "seen"),
    [
        ("0", {0}),
        ("2,1", {1, 2}),
        (" 1 , 2 ", {1, 2}),
        ("0,0", {0}),
        ("", set()),
        ("-1", set()),
        ("0,2,-1,1", {0, 2}),
        ("0,7,1", {0}),
        ("7", set()),
        ("NoDevFiles", set()),
        ("none", set()),
        ("0x1", set()),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", {0}),
        ("GPU-8932f", {0}),
        ("gpu-8932F", {0}),
        ("GPU-8932", set()),  # of two
        ("GPU-1,GPU-8932a", {1, 2}),
        ("GPU-0", set()),
        ("GPU-1,GPU-0,GPU-8932a", {2}),
        ("MIG-5af2-1", {2}),
        ("MIG-5af2", {2}),
        ("MIG-9", set()),
        ("MIG-GPU-11111111-d72c-4106-c12f-20bd9faed9f6/1/0", {2}),
        ("8932f937", set()),
    ],
)
def test_a_list_names_gpus_until_its_first_error(listed: str, seen: set[int]):
    found = visible({"CUDA_VISIBLE_DEVICES": listed}, ALIKE)
    assert found._replace(slices=frozenset()) == Visible(frozenset(seen))


@pytest.mark.parametrize(
    ("listed", "seen"),
    [
        ("2", {"MIG-5af2-1", "MIG-77b0-2"}),
        ("GPU-1", {"MIG-5af2-1", "MIG-77b0-2"}),
        ("MIG-77", {"MIG-77b0-2"}),
        ("0,mig-77B", {"MIG-77b0-2"}),
        ("MIG-77,MIG-5", {"MIG-5af2-1", "MIG-77b0-2"}),
        ("MIG-77,7,MIG-5", {"MIG-77b0-2"}),
        ("MIG-GPU-11111111-d72c-4106-c12f-20bd9faed9f6/1/0", {"MIG-5af2-1"}),
        ("0,1", set()),
        ("", set()),
    ],
)
def test_a_list_names_slices_or_whole_gpus(listed: str, seen: set[str]):
    assert visible({"CUDA_VISIBLE_DEVICES": listed}, ALIKE).slices == seen


def test_without_the_variable_all_are_seen():
    slices = frozenset({"MIG-5af2-1", "MIG-77b0-2"})
    assert visible({}, ALIKE) == Visible(frozenset({0, 1, 2}), slices=slices)
    assert visible({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, {}) == Visible(frozenset())


def test_different_models_count_from_the_fastest_unless_by_bus():
    guessed = visible({"CUDA_VISIBLE_DEVICES": "0"}, MIXED)
    assert guessed.indices == {1}
    assert "1 here" in guessed.doubt
    assert visible({"CUDA_VISIBLE_DEVICES": "0,1"}, MIXED).indices == {0, 1}
    by_bus = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert visible(by_bus, MIXED) == Visible(frozenset({0}))


@pytest.mark.parametrize("listed", ["2,0,1", "GPU-c", ""])
def test_there_is_no_doubt_where_the_order_does_not_matter(listed: str):
    assert visible({"CUDA_VISIBLE_DEVICES": listed}, MIXED).doubt == ""


def test_a_name_of_no_known_gpu_is_that_of_the_one_that_sleeps():
    devices = {0: Device("GPU-a", "T400", 10), 1: Device("", "")}
    assert visible({"CUDA_VISIBLE_DEVICES": "GPU-zz"}, devices).indices == {1}
    assert visible({"CUDA_VISIBLE_DEVICES": "GPU-a"}, devices).indices == {0}
