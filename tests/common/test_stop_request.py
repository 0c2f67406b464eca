"""Signals that ask for a stop."""

import signal

import pytest

from mpl_tf.common.stop_request import StopRequest


def test_a_second_ctrl_c_aborts(capsys):
    with StopRequest("stopping soon") as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert capsys.readouterr().err == "\nstopping soon\n"
