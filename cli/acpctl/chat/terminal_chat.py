"""The chat on a terminal: connects the daemon's messages, the view and the input line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpctl.chat.chat_client import ChatClient
from acpctl.chat.chat_text import HELP_LINES, Command, opening_lines, parse_command, status_lines
from acpctl.chat.line_editor import Frame, LineEditor
from acpctl.chat.terminal_view import TerminalView
from acpctl.exit_codes import DONE, INTERRUPTED
from acpctl.text import clean, clean_lines

if TYPE_CHECKING:
    from acpctl.client import DaemonConnection, Message
    from acpctl.options import GlobalOptions
    from acpctl.render.output import Output


def run_terminal_chat(
    options: GlobalOptions,
    connection: DaemonConnection,
    thread: str,
    agent: str | None,
    resume: str | None,
    *,
    temporary: bool = False,
) -> int:
    """Chat until the user leaves, and return the exit code. Raises ``CliError``.

    ``temporary``: the daemon ends with this chat, so do not say how to come back.
    """
    status = _TerminalChat(options, connection, thread).run(agent, resume)
    if not temporary:
        options.out.note(f"left; `acpctl chat {thread}` continues it", "dim")
    return status


class _TerminalChat:
    def __init__(self, options: GlobalOptions, connection: DaemonConnection, thread: str) -> None:
        self._out: Output = options.out
        self._connection = connection
        self._editor = LineEditor(
            self._frame,
            on_line=self._handle_line,
            on_interrupt=self._interrupt,
            on_end=lambda: self._editor.exit(DONE),
        )
        self._view = TerminalView(options.out, self._editor.columns)
        self._client = ChatClient(connection, thread, self._view, timeout=options.timeout)
        self._view.client = self._client
        self._cancelled = False  # the running turn
        self._permission = ""  # the request that the last frame showed
        self._question = ""  # the same of questions
        self._early = ""  # what was typed when a question came: it is no answer to it

    def run(self, agent: str | None, resume: str | None) -> int:
        client, out = self._client, self._out
        client.open(agent, resume)
        for line in opening_lines(client.row, client.recent, self._editor.columns()):
            out.note(line, "dim")
        running = "; a turn is running" if client.busy else ""
        out.note(f"{client.thread}: /help for help, Ctrl-D leaves{running}", "dim")
        try:
            status = self._editor.run(self._connection.fileno(), self._receive)
            client.leave()
        except EOFError:  # the terminal has gone away
            status = DONE
        finally:
            self._view.finish()
            self._editor.write_last(self._view.take_finished())
        return status

    def _receive(self) -> None:
        self._client.handle(self._connection.receive(0))
        self._cancelled = self._cancelled and self._client.busy

    def _frame(self) -> Frame:
        self._client.check_timeouts()
        bell, self._view.rings = self._view.rings, False
        label = self._out.paint(self._view.label(), "cyan")
        seconds = self._client.seconds_until_due()
        finished = self._view.take_finished()
        self._drop_early_answer()
        self._note_early_line()
        return Frame(finished, self._view.live_rows(), label, bell=bell, seconds=seconds)

    def _drop_early_answer(self) -> None:
        """Another request is shown now: what is typed already was not meant for it."""
        if self._view.shown_permission == self._permission:
            return
        self._permission = self._view.shown_permission
        if self._client.open_permissions and self._client.open_permissions[0].match(self._editor.text) is not None:
            self._editor.clear()

    def _note_early_line(self) -> None:
        """A question is shown now: what is typed already is a prompt, not the answer."""
        shown = self._view.shown_question
        if shown is None or shown[0] == self._question:
            return
        self._question = shown[0]
        self._early = self._editor.text

    def _interrupt(self) -> None:
        if self._cancelled or not self._client.busy:
            self._editor.exit(INTERRUPTED)
            return
        self._cancelled = True
        self._view.hint("cancelling the turn; Ctrl-C again leaves")
        self._client.cancel()

    def _handle_line(self, line: str) -> None:
        """Send a prompt, answer a permission request or a question, or run a command."""
        client, view = self._client, self._view
        view.hint("")
        match parse_command(line):
            case Command() as command:
                self._run(command)
            case _ if client.open_permissions:
                self._answer_permission(line)
            case _ if client.open_questions:
                self._answer_question(line)
            case _ if line.strip() and client.send_prompt(line):
                view.prompt_sent(clean_lines(line))

    def _run(self, command: Command) -> None:
        client, view = self._client, self._view
        match command:
            case Command(name, value, is_daemons=True):
                client.run_command(name, value, view.add_lines)
            case Command("quit"):
                self._editor.exit(DONE)
            case Command("help"):
                view.add_lines(HELP_LINES)
            case Command("cancel"):
                client.cancel()
            case Command("now", text):
                if client.send_now(text, view.add_lines):
                    view.prompt_sent(clean_lines(text))
            case Command("status"):

                def show(row: Message) -> None:
                    view.add_lines(status_lines(row, self._out))

                client.fetch_status(show)

    def _answer_permission(self, line: str) -> None:
        request = self._client.open_permissions[0]
        if request.request != self._view.shown_permission:
            return  # the answer was for one that has ended since
        option = request.match(line)
        if option is None:
            self._view.hint(f"answer 1 to {len(request.options)}, y or n; /cancel stops the turn")
            return
        self._view.permission_answered(request, option.label)
        self._client.answer_permission(request, option)

    def _answer_question(self, line: str) -> None:
        question, early = self._client.open_questions[0], self._early
        self._early = ""
        if self._view.shown_question is None or self._view.shown_question[0] != question.request:
            return  # the answer was for one that has ended since
        if early and line.startswith(early):
            self._view.hint(f"not sent, because you typed it before the question appeared: {clean(line)}")
            return
        try:
            answer = question.take(line)
        except ValueError as error:
            self._view.hint(str(error))
            return
        self._view.question_answered(question, "declined" if answer and answer.action == "decline" else clean(line))
        if answer is not None:
            self._client.answer_question(question, answer)
