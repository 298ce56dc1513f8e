from __future__ import annotations

from acpbot.chat.discord.outbound.outage import OUTAGE_SECONDS, Outage


def test_the_first_answer_after_an_outage_ends_it_once():
    outage = Outage()
    outage.failed(10)
    outage.failed(11)
    assert outage.is_over(10 + OUTAGE_SECONDS)
    assert not outage.is_over(99)


def test_a_failure_among_requests_that_work_is_no_outage():
    outage = Outage()
    assert not outage.is_over(0)
    for second in range(1, 9):
        outage.failed(second)
        assert not outage.is_over(second + 0.5)
