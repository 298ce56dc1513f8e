"""The agent's options in Discord: `/model`, `/mode`, `/options`, and the select menus below their answers."""

from __future__ import annotations

import pytest

from acpbot.chat.discord.interactions import menus
from acpbot.sessions.options import Choice, Option
from acpbot.sessions.views import Target
from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import Scene, staged
from tests.support.pool import faulty


class Shown:
    """One answer with a menu, as a person's client shows it."""

    def __init__(self, scene: Scene, interaction, who) -> None:
        self.scene, self.interaction, self.who = scene, interaction, who

    @property
    def message(self):
        return self.interaction.messages[0]

    @property
    def text(self) -> str:
        return self.message.content

    @property
    def menu(self) -> dict | None:
        items = [item for row in self.message.components for item in row["components"] if item["type"] == 3]
        return items[0] if items else None

    @property
    def labels(self) -> list[str]:
        return [] if self.menu is None else [option["label"] for option in self.menu["options"]]

    async def select(self, label: str, who=None) -> None:
        """Select a line; the answer takes the place of this message."""
        assert self.menu is not None
        value = next(option["value"] for option in self.menu["options"] if option["label"].startswith(label))
        await self._done((who or self.who).selects(self.message, self.menu["custom_id"], [value]))

    async def click(self, label: str) -> None:
        await self._done(self.who.clicks(self.message, label=label))

    async def send(self, custom_id: str, value: str) -> None:
        """A selection that this message need not offer: what a client with an old view of it sends."""
        click = self.who.sends_click(self.message, custom_id)
        click.data["values"] = [value]
        await self._done(click)

    async def _done(self, click) -> None:
        await self.scene.server.wait_for(lambda: click.answered and not click.deferred, seconds=10)
        assert click.seconds < 3
        assert click.response_type == 7, "the message itself is changed, and no other one is sent"
        assert self.message.ephemeral


async def shown(scene: Scene, command: str, thread, who=None, **options: str) -> Shown:
    who = who or scene.ada
    interaction = who.slash(command, options, channel=thread)
    await scene.server.wait_for_answer(interaction, seconds=10)
    assert all(one.ephemeral for one in interaction.messages)
    return Shown(scene, interaction, who)


def chosen(scene: Scene, thread) -> dict[str, str]:
    known = scene.pool.thread(str(thread.id))
    assert known is not None
    return dict(known.chosen)


async def opened(scene: Scene, text: str = "say first"):
    thread = await scene.opens(text)
    await scene.idle(thread, 1)
    return thread


async def test_every_option_is_listed_with_its_value_opened_and_set(scene: Scene):
    thread = await opened(scene)
    options = await shown(scene, "options", thread)
    assert "Effort (`effort`): `Low`" in options.text
    assert "Footer (`footer`): `Off`" in options.text
    assert options.labels == ["Model", "Mode", "Effort", "Footer"]
    await options.select("Footer")
    assert options.text.startswith("Footer: `Off`")
    assert options.labels == ["On", "Off"]
    await options.select("On")
    assert options.text.startswith("Footer is now `On`.")
    await options.click("All options")
    assert "Footer (`footer`): `On`" in options.text
    await options.select("Effort")
    await options.select("High")
    assert options.text.startswith("Effort is now `High`.")
    assert chosen(scene, thread) == {"footer": "true", "effort": "high"}
    scene.ada.says(thread, "say second")
    await scene.says(thread, "(mode ask, model plain, effort high)")


async def test_a_choice_is_remembered_for_the_next_session_of_the_thread(scene: Scene):
    thread = await opened(scene)
    await (await shown(scene, "options", thread, name="footer")).select("On")
    await answer_to(scene, "close", thread)
    scene.ada.says(thread, "say second")
    await scene.says(thread, "(mode ask, model plain, effort low)")


async def test_the_menus_of_model_and_mode_set_them(scene: Scene):
    thread = await opened(scene)
    model = await shown(scene, "model", thread)
    assert model.labels == ["Plain", "Shout"]
    await model.select("Shout")
    assert model.text.startswith("The model is now `shout`.")
    assert [option["label"] for option in (model.menu or {})["options"] if option.get("default")] == ["Shout"]
    await (await shown(scene, "mode", thread)).select("Auto")
    unasked = "In this mode the agent doesn't always ask before it acts."
    await scene.says(thread, f"{scene.ada.mention} switched the mode to `auto`. {unasked}")
    assert chosen(scene, thread) == {"model": "shout", "mode": "auto"}


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ({"name": "footer", "value": "on"}, "Footer is now `On`."),
        ({"name": "Footer", "value": "true"}, "Footer is now `On`."),
        ({"name": "effort", "value": "HIGH"}, "Effort is now `High`."),
        ({"name": "model", "value": "Shout"}, "The model is now `shout`."),
        ({"name": "effort", "value": "none"}, "This agent has no effort 'none'. Available: low, high"),
        ({"name": "footer", "value": "maybe"}, "Footer is either on or off."),
        ({"name": "nothing", "value": "on"}, "This agent has no option `nothing`. See what it has with `/options`."),
        ({"name": "nothing"}, "This agent has no option `nothing`. See what it has with `/options`."),
        ({"value": "on"}, "Name the option too: `/options name: value:`"),
    ],
)
async def test_an_option_and_its_value_can_be_typed(scene: Scene, typed, answer):
    thread = await opened(scene)
    assert await answer_to(scene, "options", thread, **typed) == answer


async def test_options_and_their_values_are_proposed_while_they_are_typed(scene: Scene):
    thread = await opened(scene)
    typing = scene.ada.autocompletes("options", "name", "eff", channel=thread)
    await scene.server.wait_for(lambda: typing.answered)
    assert [one["value"] for one in (typing.response or {})["choices"]] == ["effort"]
    typing = scene.ada.autocompletes("options", "value", "o", channel=thread, options={"name": "footer"})
    await scene.server.wait_for(lambda: typing.answered)
    assert [one["name"] for one in (typing.response or {})["choices"]] == ["On", "Off"]


async def test_who_may_not_control_the_thread_sees_the_options_without_a_menu_and_sets_none(scene: Scene):
    thread = await opened(scene)
    for command in ("options", "model", "mode"):
        seen = await shown(scene, command, thread, scene.bob)
        assert seen.text
        assert seen.menu is None
    only = f"Only {scene.ada.mention} or an admin can do this here."
    assert await answer_to(scene, "options", thread, scene.bob, name="footer", value="on") == only
    menu = await shown(scene, "options", thread, name="footer")
    await menu.select("On", scene.bob)
    assert menu.text == only
    assert chosen(scene, thread) == {}


async def test_a_menu_works_after_a_restart_of_the_chat_and_after_another_session_of_the_same_agent(scene: Scene):
    thread = await opened(scene)
    menu = await shown(scene, "options", thread, name="footer")
    await scene.restart()
    await menu.select("On")
    assert chosen(scene, thread) == {"footer": "true"}
    await answer_to(scene, "close", thread)
    scene.ada.says(thread, "say second")
    await scene.idle(thread, 2)
    await menu.select("Off")
    assert chosen(scene, thread) == {"footer": "false"}


async def test_a_menu_says_so_while_no_agent_runs(scene: Scene):
    thread = await opened(scene)
    menu = await shown(scene, "options", thread, name="footer")
    row = scene.harness.row(str(thread.id))
    await scene.pool.kill([Target(thread_id=row.thread_id, session_id=str(row.session_id))])
    await menu.select("On")
    assert menu.text == "No agent is running here. Send a message first, or give the command with a value."
    assert menu.menu is None


async def test_a_menu_of_another_agent_sets_nothing(scene: Scene):
    scene.harness.offer_agents("demo", "other")
    thread = await opened(scene)
    menu = await shown(scene, "options", thread, name="footer")
    await answer_to(scene, "agent", thread, name="other")
    scene.ada.says(thread, "say second")
    await scene.says(thread, "second")
    await menu.select("On")
    assert (menu.text, menu.menu) == (menus.STALE, None)
    assert chosen(scene, thread) == {}


async def test_a_value_that_the_option_does_not_have_any_more_sets_nothing(scene: Scene):
    thread = await opened(scene)
    agent = menus.digest("demo")
    menu = await shown(scene, "options", thread, name="footer")
    await menu.send(menus.Pressed("set", agent, menus.digest("footer")).custom_id, menus.digest("gone"))
    assert menu.text == menus.STALE
    menu = await shown(scene, "options", thread)
    await menu.send(menus.Pressed("set", agent, menus.digest("gone")).custom_id, menus.digest("true"))
    assert menu.text == menus.STALE
    menu = await shown(scene, "options", thread)
    await menu.send(menus.Pressed("list", agent, page=999).custom_id, "")
    assert menu.labels == ["Model", "Mode", "Effort", "Footer"]
    assert chosen(scene, thread) == {}


async def test_more_choices_than_a_menu_holds_come_in_pages(tmp_path):
    async with staged(tmp_path, limits={"argv": faulty("many_options")}) as scene:
        thread = await opened(scene, "x")
        model = await shown(scene, "model", thread)
        assert model.labels[15].startswith("Engine 40 ")
        assert len(model.labels) == 25
        await model.click("Page 3 ▶")
        assert len(model.labels) == 10
        await model.click("◀ Page 2")
        await model.click("◀ Page 1")
        await model.select("Engine 7 ")
        assert len(model.text) <= 2000
        options = await shown(scene, "options", thread)
        assert len(options.labels) == 25
        await options.click("Page 2 ▶")
        await options.select("Flag29")
        await options.select("On")
        scene.ada.says(thread, "y")
        await scene.says(thread, "e7 s1 True")


async def test_a_second_option_of_the_model_s_category_is_an_option_of_its_own(tmp_path):
    async with staged(tmp_path, limits={"argv": faulty("many_options")}) as scene:
        thread = await opened(scene, "x")
        assert await answer_to(scene, "options", thread, name="small", value="s0") == "Small is now `S0`."
        assert chosen(scene, thread) == {"small": "s0"}
        odd = await shown(scene, "options", thread, name="odd")
        assert odd.labels == ["First", "?"]


async def test_a_value_that_the_agent_does_not_take_is_not_said_to_be_set(tmp_path):
    async with staged(tmp_path, limits={"argv": faulty("config_modes keeps")}) as scene:
        thread = await opened(scene, "x")
        model = await shown(scene, "model", thread)
        await model.select("Large")
        assert model.text.startswith("The agent didn't switch: its model is still 'small'.")
        assert [option["label"] for option in (model.menu or {})["options"] if option.get("default")] == ["Small"]
        assert chosen(scene, thread) == {}


async def test_an_answer_that_takes_long_is_deferred_and_then_changes_the_menu(tmp_path):
    async with staged(tmp_path, prompt=0.0) as scene:
        thread = await opened(scene)
        menu = await shown(scene, "options", thread, name="footer")
        click = scene.ada.selects(menu.message, (menu.menu or {})["custom_id"], [menus.digest("true")])
        await scene.server.wait_for(lambda: "Footer is now `On`." in menu.text, seconds=10)
        assert click.response_type in {6, 7}
        assert chosen(scene, thread) == {"footer": "true"}


def test_ids_that_are_not_ours_are_not_read():
    ours = menus.Pressed("set", menus.digest("a"), menus.digest("b"), 2, listed=True)
    assert menus.decode(ours.custom_id) == ours
    assert len(ours.custom_id) <= 100
    for custom_id in (
        "",
        "acpbot:1:2",
        ours.custom_id + "x",
        "x" + ours.custom_id,
        ours.custom_id.replace("set", "kill"),
    ):
        assert menus.decode(custom_id) is None


@pytest.mark.parametrize("name", ["\u200b", "x" * 300, "\ud800", "🙂" * 90, ""])
def test_whatever_names_an_agent_gives_a_menu_fits_into_discord(name):
    option = Option(name, name, tuple(Choice(f"{n}{name}", name, current=True, description=name) for n in range(30)))
    for menu in (menus.choices_menu("demo", option), menus.list_menu("demo", [option] * 30, 1)):
        assert len(menu.text) <= 2000
        assert 1 <= len(menu.items) <= 25
        for item in menu.items:
            assert 1 <= len(item.label.encode("utf-16-le")) // 2 <= 100
            assert len(item.description.encode("utf-16-le")) // 2 <= 100
