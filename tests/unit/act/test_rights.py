"""What errors of system calls say of the right to act on a process."""

from __future__ import annotations

import errno

import pytest

from pydamon._act.actions.base import advice_refusal
from pydamon._act.memory import TargetMemory, refusal_of
from pydamon._model.mappings import MappingTable
from pydamon._observe.linux import madvise
from pydamon._observe.linux.process import Process
from tests.integration.conftest import needs, running


@pytest.mark.parametrize("number", [0, errno.EFAULT, errno.ENOMEM, errno.EAGAIN, errno.EBUSY])
def test_what_is_not_about_the_right_to_act_is_no_refusal(number: int) -> None:
    assert refusal_of(number, "process_vm_readv") is None


def test_each_reason_has_its_own_words() -> None:
    denied = refusal_of(errno.EPERM, "move_pages")
    assert denied is not None
    assert "Operation not permitted" in denied.why
    assert "root" in denied.hint
    unknown = refusal_of(errno.EINVAL, "MADV_COLLAPSE", since="6.1")
    assert unknown is not None
    assert "this kernel cannot" in unknown.why
    assert "6.1" in unknown.hint
    assert "root" not in unknown.hint
    gone = refusal_of(errno.ESRCH, "move_pages")
    assert gone is not None
    assert gone.gone


@pytest.mark.live
@needs("ebpf")
def test_advice_is_tried_without_any_memory() -> None:
    with running("sleep", "100") as child:
        process = Process(child.pid)
        with TargetMemory(process, MappingTable()) as memory:
            assert advice_refusal(memory, madvise.MADV_COLD) is None
            unknown = advice_refusal(memory, 9999)
            child.kill()
            child.wait()
            gone = advice_refusal(memory, madvise.MADV_COLD)
        process.close()
    assert unknown is not None
    assert "this kernel cannot" in unknown.why
    assert gone is not None
    assert gone.gone
