from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.chat.discord.access import (
    AnswerLimit,
    Author,
    BotTurns,
    Decision,
    MessageSource,
    decide,
    is_admin,
    is_allowed,
    is_mentioned,
    may_control,
    without_mention,
)
from acpbot.config.settings import DiscordSettings
from tests.support.pool import Clock

OWN = "900"
ALLOW, IGNORE, DENY = Decision.ALLOW, Decision.IGNORE, Decision.DENY

CHANNEL = MessageSource(channel_id="10")
THREAD = MessageSource(channel_id="11", parent_id="10", is_thread=True, ours=True)
SHARED = msgspec.structs.replace(THREAD, other_bots=True)
FOREIGN = msgspec.structs.replace(THREAD, ours=False)
DM = MessageSource(channel_id="12", is_dm=True)

ANN = Author(id="1")
ROLE = Author(id="2", role_ids=frozenset({"70", "71"}))
STRANGER = Author(id="3", role_ids=frozenset({"79"}))
BOT = Author(id="800", is_bot=True)
HOOK = Author(id="801", is_webhook=True)


def settings(**keys: Any) -> DiscordSettings:
    return DiscordSettings(
        bot_token="t", **{"allowed_users": ("1",), "allowed_role_ids": ("70",), "allow_all_channels": True, **keys}
    )


def decision(person: Author, place: MessageSource, *, mentioned: bool = False, **keys: Any) -> Decision:
    return decide(settings(**keys), person, place, mentioned=mentioned, own_id=OWN)


def test_a_channel_takes_a_mention():
    assert decision(ANN, CHANNEL, mentioned=True) is ALLOW
    assert decision(ANN, CHANNEL) is IGNORE
    assert decision(ANN, CHANNEL, allow_user_messages="involved") is IGNORE
    assert decision(ANN, FOREIGN, allow_user_messages="involved") is IGNORE
    assert decision(ANN, FOREIGN, mentioned=True) is ALLOW


@pytest.mark.parametrize(
    ("mode", "alone", "shared"),
    [("involved", ALLOW, ALLOW), ("multibot-mentions", ALLOW, IGNORE), ("mentions", IGNORE, IGNORE)],
)
def test_a_thread_of_the_bot_needs_a_mention_as_configured(mode, alone, shared):
    assert decision(ANN, THREAD, allow_user_messages=mode) is alone
    assert decision(ANN, SHARED, allow_user_messages=mode) is shared
    for place in (THREAD, SHARED):
        assert decision(ANN, place, allow_user_messages=mode, mentioned=True) is ALLOW


def test_by_default_everybody_is_denied():
    nobody = DiscordSettings(bot_token="t", allow_all_channels=True)
    assert decide(nobody, ANN, CHANNEL, mentioned=True, own_id=OWN) is DENY
    nowhere = DiscordSettings(bot_token="t", allow_all_users=True)
    assert decide(nowhere, ANN, CHANNEL, mentioned=True, own_id=OWN) is DENY
    assert decide(nowhere, ANN, DM, mentioned=False, own_id=OWN) is DENY


def test_people_are_allowed_by_id_by_role_or_all_at_once():
    assert decision(ROLE, CHANNEL, mentioned=True) is ALLOW
    assert decision(STRANGER, CHANNEL, mentioned=True) is DENY
    assert decision(STRANGER, CHANNEL) is IGNORE
    assert decision(STRANGER, THREAD) is DENY
    assert decision(STRANGER, CHANNEL, mentioned=True, allow_all_users=True) is ALLOW


def test_who_loses_a_role_or_leaves_is_denied_at_once():
    for changed in (frozenset({"71"}), frozenset()):
        person = msgspec.structs.replace(ROLE, role_ids=changed)
        assert decision(person, THREAD) is DENY
        assert not is_allowed(settings(), person, THREAD)
        assert not may_control(settings(), person, THREAD, person.id)
    assert may_control(settings(), ROLE, THREAD, ROLE.id)


def test_an_admin_who_is_not_allowed_is_denied():
    assert decision(STRANGER, CHANNEL, mentioned=True, admin_users=("3",), admin_role_ids=("79",)) is DENY
    assert not may_control(settings(admin_users=("3",)), STRANGER, THREAD, ANN.id)
    assert is_admin(settings(admin_role_ids=("79",)), STRANGER)


def test_allowed_channels_apply_to_their_threads():
    keys: dict[str, Any] = {"allow_all_channels": False, "allowed_channels": ("10",)}
    assert decision(ANN, CHANNEL, mentioned=True, **keys) is ALLOW
    assert decision(ANN, THREAD, **keys) is ALLOW
    elsewhere = MessageSource(channel_id="21", parent_id="20", is_thread=True, ours=True)
    assert decision(ANN, elsewhere, **keys) is DENY
    assert decision(ANN, elsewhere, **{**keys, "allowed_channels": ("21",)}) is ALLOW
    assert not is_allowed(settings(**keys), ANN, elsewhere)
    assert is_allowed(settings(**keys), ANN, THREAD)


def test_direct_messages_must_be_allowed_and_need_no_mention():
    assert decision(ANN, DM) is DENY
    assert decision(ANN, DM, allow_dm=True) is ALLOW
    assert decision(ANN, DM, allow_dm=True, allow_all_channels=False, allowed_channels=("10",)) is ALLOW
    assert decision(STRANGER, DM, allow_dm=True) is DENY
    assert decision(ROLE, DM, allow_dm=True) is ALLOW
    without_roles = msgspec.structs.replace(ROLE, role_ids=frozenset())
    assert decision(without_roles, DM, allow_dm=True) is DENY


def test_the_bots_own_messages_are_ignored():
    keys: dict[str, Any] = {"allow_bot_messages": "all", "allow_all_users": True, "trusted_bot_ids": (OWN,)}
    for person in (Author(id=OWN, is_bot=True), Author(id=OWN), Author(id=OWN, is_webhook=True)):
        for place in (CHANNEL, THREAD, DM):
            assert decision(person, place, mentioned=True, **keys) is IGNORE


@pytest.mark.parametrize("program", [BOT, HOOK, Author(id="802", is_bot=True, is_webhook=True)])
def test_programs_are_allowed_by_the_rules_for_bots_and_never_denied(program):
    everybody: dict[str, Any] = {"allow_all_users": True, "allowed_users": (program.id,), "allow_dm": True}
    for place in (CHANNEL, THREAD, DM):
        assert decision(program, place, mentioned=True, **everybody) is IGNORE
    mentions: dict[str, Any] = {"allow_bot_messages": "mentions"}
    assert decision(program, CHANNEL, mentioned=True, **mentions) is ALLOW
    assert decision(program, THREAD, **mentions) is IGNORE
    assert decision(program, DM, mentioned=True, **mentions, allow_dm=True) is IGNORE
    assert decision(program, SHARED, allow_bot_messages="all") is ALLOW
    assert decision(program, CHANNEL, allow_bot_messages="all") is IGNORE
    assert decision(program, FOREIGN, allow_bot_messages="all") is IGNORE
    assert decision(program, CHANNEL, mentioned=True, allow_bot_messages="all", trusted_bot_ids=("5",)) is IGNORE
    assert decision(program, CHANNEL, mentioned=True, allow_bot_messages="all", trusted_bot_ids=(program.id,)) is ALLOW
    away: dict[str, Any] = {"allow_all_channels": False, "allowed_channels": ("99",)}
    assert decision(program, CHANNEL, mentioned=True, allow_bot_messages="all", **away) is IGNORE
    assert not is_allowed(settings(**everybody), program, CHANNEL)
    assert not may_control(settings(**everybody, admin_users=(program.id,)), program, THREAD, program.id)


def test_the_owner_the_asker_and_admins_may_control_a_thread_and_nobody_else():
    admins = settings(allow_all_users=True, admin_users=("4",), admin_role_ids=("71",))
    of_ann = msgspec.structs.replace(THREAD, owner_id=ANN.id)
    assert may_control(admins, ANN, of_ann, None)
    assert may_control(admins, ANN, of_ann, STRANGER.id)
    assert may_control(admins, STRANGER, of_ann, STRANGER.id)
    assert may_control(admins, ROLE, of_ann, None)
    assert may_control(admins, Author(id="4"), of_ann, ANN.id)
    assert not may_control(admins, STRANGER, of_ann, None)
    assert not may_control(admins, STRANGER, of_ann, ANN.id)
    assert not may_control(admins, STRANGER, THREAD, None)
    assert not may_control(admins, STRANGER, THREAD, "")
    # A turn that a bot asked for.
    assert may_control(admins, Author(id="4"), THREAD, BOT.id)
    assert not may_control(admins, STRANGER, THREAD, BOT.id)


def test_the_owner_of_a_thread_must_be_allowed_where_it_is():
    of_ann = msgspec.structs.replace(THREAD, owner_id=ANN.id)
    away: dict[str, Any] = {"allow_all_channels": False, "allowed_channels": ("99",), "admin_users": (ANN.id,)}
    assert not may_control(settings(**away), ANN, of_ann, ANN.id)


def test_a_person_reads_no_once_a_minute_in_a_channel_and_five_times_in_all():
    clock = Clock()
    limit = AnswerLimit(clock)
    assert [limit.take("1", "10") for _ in range(150)].count(True) == 1
    assert [limit.take("1", str(channel)) for channel in range(10, 500)].count(True) == 4
    assert limit.take("2", "10")
    clock.move(59)
    assert not limit.take("1", "10")
    clock.move(1)
    assert limit.take("1", "10")


def test_all_people_together_read_no_a_limited_number_of_times():
    clock = Clock()
    limit = AnswerLimit(clock)
    assert [limit.take(str(person), "10") for person in range(1000)].count(True) == 60
    clock.move(60)
    assert limit.take("1", "10")


_bools = st.booleans()
_ids = st.sampled_from(["1", "2", "3", "70", "800", OWN])
_persons = st.builds(
    Author, id=_ids, role_ids=st.frozensets(st.sampled_from(["70", "71"])), is_bot=_bools, is_webhook=_bools
)
_places = st.builds(
    MessageSource,
    channel_id=st.sampled_from(["10", "11", "20"]),
    parent_id=st.sampled_from([None, "10", "20"]),
    is_dm=_bools,
    is_thread=_bools,
    ours=_bools,
    other_bots=_bools,
)
_settings = st.builds(
    settings,
    allow_all_channels=_bools,
    allowed_channels=st.sampled_from([(), ("10",)]),
    allow_all_users=_bools,
    allow_user_messages=st.sampled_from(["involved", "mentions", "multibot-mentions"]),
    allow_bot_messages=st.sampled_from(["off", "mentions", "all"]),
    trusted_bot_ids=st.sampled_from([(), ("800",)]),
    allow_dm=_bools,
)


@given(_settings, _persons, _places, _bools)
def test_who_is_allowed_may_use_commands_and_a_mention_never_makes_it_worse(keys, person, place, mentioned):
    found = decide(keys, person, place, mentioned=mentioned, own_id=OWN)
    if person.id == OWN:
        assert found is IGNORE
    elif person.is_program:
        assert found is not DENY
    elif found is not IGNORE:
        assert (found is ALLOW) == is_allowed(keys, person, place)
    if found is ALLOW:
        assert decide(keys, person, place, mentioned=True, own_id=OWN) is ALLOW
        assert keys.allow_dm or not place.is_dm


def test_bots_that_answer_each_other_are_denied_once_and_then_ignored():
    turns = BotTurns()
    assert [turns.count("11", 3) for _ in range(6)] == [ALLOW, ALLOW, ALLOW, DENY, IGNORE, IGNORE]
    assert turns.count("12", 3) is ALLOW
    turns.reset("11")
    assert [turns.count("11", 3) for _ in range(4)] == [ALLOW, ALLOW, ALLOW, DENY]
    turns.reset("never seen")


def test_turns_are_counted_for_a_bounded_number_of_channels():
    turns = BotTurns()
    assert turns.count("busy", 1) is ALLOW
    for number in range(20_000):
        turns.count(str(number), 1)
        if number % 1000 == 0:
            assert turns.count("busy", 1) is not ALLOW
    assert len(turns._counts) == 10_000
    assert turns.count("0", 1) is ALLOW


def test_everyone_and_other_roles_do_not_mention_the_bot():
    assert is_mentioned(OWN, [OWN, "1"])
    assert not is_mentioned(OWN, [])
    assert not is_mentioned(OWN, ["1"], ["5"], own_role="77")
    assert is_mentioned(OWN, [], ["77"], own_role="77")
    assert not is_mentioned(OWN, [], [OWN])


def test_mentions_at_both_ends_are_removed():
    assert without_mention("<@900> fix it", OWN) == "fix it"
    assert without_mention("  <@!900>, <@900>: fix it <@900>\n", OWN) == "fix it"
    assert without_mention("<@&77> fix", OWN, own_role_id="77") == "fix"
    assert without_mention("<@&77> fix", OWN) == "<@&77> fix"
    assert without_mention("ask <@900> and <@901>", OWN) == "ask <@900> and <@901>"
    assert without_mention("<@900>", OWN) == ""
    assert without_mention("<@900><@900>", OWN) == ""
    assert without_mention("<@9001> hi", OWN) == "<@9001> hi"
    assert without_mention(" hi ", ".*") == "hi"
    assert without_mention("a > b>", OWN) == "a > b>"
    assert without_mention("x" + "<@900>\n" * 100_000, OWN) == "x"
    assert without_mention("<@900>\n" * 100_000, OWN) == ""
