import pickle

import numpy as np
import pytest
import torch

from nas.core.errors import InputError
from nas.core.space import GeneSpace
from nas.evaluation.inherited import InheritedEvaluator
from nas.execution.packing import pack, unpack
from supernets.mobilenet.supernet import MobileNetSupernet


def packed_and_back(value: object) -> tuple[object, list[bytearray]]:
    packed = pack(value, what="it")
    buffers = [bytearray(buffer) for buffer in packed.buffers]
    return unpack(packed.payload, buffers), buffers


def test_tensors_lie_in_the_buffers_and_share_what_they_shared() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    value = {"whole": whole, "part": whole.T[1:], "weight": torch.nn.Parameter(whole),
             "empty": torch.empty(0), "integers": torch.arange(3), "text": "x"}
    found, buffers = packed_and_back(value)
    assert isinstance(found, dict)
    for name, tensor in value.items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(found[name], tensor)
            assert found[name].stride() == tensor.stride()
            assert type(found[name]) is type(tensor)
    assert sorted(len(buffer) for buffer in buffers) == [24, 48]
    found["whole"][0, 1] = 7
    assert found["part"][0, 0] == found["weight"][0, 1] == 7
    assert whole[0, 1] == 1


def test_arrays_lie_in_the_buffers() -> None:
    found, buffers = packed_and_back([np.arange(100), np.asfortranarray(np.eye(9))])
    assert isinstance(found, list)
    assert np.array_equal(found[0], np.arange(100))
    assert np.array_equal(found[1], np.eye(9))
    assert all(not array.flags.owndata for array in found)
    assert [len(buffer) for buffer in buffers] == [800, 648]


def test_an_evaluator_with_a_supernet_gives_the_same(tiny_supernet: MobileNetSupernet) -> None:
    evaluate = InheritedEvaluator(tiny_supernet)
    packed = pack(evaluate, what="it")
    weights = sum(tensor.nbytes for tensor in tiny_supernet.state_dict().values())
    assert sum(buffer.nbytes for buffer in packed.buffers) >= weights
    found = unpack(packed.payload, [bytearray(buffer) for buffer in packed.buffers])
    space: GeneSpace = tiny_supernet.space
    for arch in space.decode(space.sample_codes(3, np.random.default_rng(0))):
        assert found(arch) == evaluate(arch)


def test_what_cannot_be_pickled_is_named_in_one_line() -> None:
    with pytest.raises(InputError, match=r"the thing \(function\) cannot be sent to workers"
                       ) as caught:
        pack(lambda: 0, what="the thing")
    assert "\n" not in str(caught.value)


def test_another_pickler_takes_part() -> None:
    from ray import cloudpickle

    tensor = torch.ones(1000)
    packed = pack(lambda: tensor.sum(), what="it", pickler=cloudpickle.CloudPickler)
    assert len(packed.payload) < 4000
    assert unpack(packed.payload, packed.buffers)() == 1000
    assert issubclass(cloudpickle.CloudPickler, pickle.Pickler)
