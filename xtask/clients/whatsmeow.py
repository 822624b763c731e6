"""Drives whatsmeow, as the neonize package carries it: commands come as lines of JSON on standard input, what
happens goes out as lines of JSON on standard output.

usage: python whatsmeow.py STATE_FILE

The library was built with WhatsApp's address and root certificate as constants; `cargo xtask clients` changed both
in the installed copy, so that it keeps all its checks.
"""

import json
import logging
import os
import sys
import threading

out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the library itself prints to standard output

from neonize.client import NewClient  # noqa: E402
from neonize.events import (  # noqa: E402
    ChatPresenceEv,
    ClientOutdatedEv,
    ConnectedEv,
    ConnectFailureEv,
    DisconnectedEv,
    LoggedOutEv,
    MessageEv,
    PairStatusEv,
    PresenceEv,
    StreamErrorEv,
    StreamReplacedEv,
    TemporaryBanEv,
    UndecryptableMessageEv,
)
from neonize.proto import Neonize_pb2 as proto  # noqa: E402
from neonize.utils.enum import ChatPresence, ChatPresenceMedia, Presence  # noqa: E402
from neonize.utils.jid import Jid2String  # noqa: E402
from neonize.utils.log import log  # noqa: E402

log.setLevel(os.environ.get("CLIENT_LOG", "ERROR"))
logging.basicConfig(stream=sys.stderr)
lock = threading.Lock()


def say(event, **fields):
    with lock:
        out.write(json.dumps({"event": event, **fields}) + "\n")


def jid(text):
    user, server = text.split("@")
    return proto.JID(User=user, Server=server, Device=0, Integrator=0, IsEmpty=False, RawAgent=0)


def plain(message):
    sent = message.deviceSentMessage.message
    return (
        message.conversation
        or message.extendedTextMessage.text
        or sent.conversation
        or sent.extendedTextMessage.text
    )


class Driver:
    def __init__(self, state):
        self.client = NewClient(state)
        on = self.client.event
        self.client.event.qr(lambda _, code: say("qr", qr=code.decode()))
        on(ConnectedEv)(lambda c, _: self.opened())
        on(PairStatusEv)(lambda _, e: say("paired", jid=Jid2String(e.ID), error=e.Error))
        on(DisconnectedEv)(lambda *_: say("closed", code=0, text="disconnected"))
        on(LoggedOutEv)(lambda _, e: say("closed", code=401, text=f"logged out, on connect: {e.OnConnect}"))
        on(StreamReplacedEv)(lambda *_: say("closed", code=440, text="replaced"))
        on(TemporaryBanEv)(lambda _, e: say("closed", code=402, text=f"banned for {e.Expire}"))
        on(ClientOutdatedEv)(lambda *_: say("closed", code=405, text="outdated"))
        on(ConnectFailureEv)(lambda _, e: say("closed", code=int(e.Reason), text="failure"))
        on(StreamErrorEv)(lambda _, e: say("stream_error", text=e.Code))
        on(ChatPresenceEv)(self.chat_presence)
        on(PresenceEv)(
            lambda _, e: say(
                "presence",
                chat=Jid2String(e.From),
                **{"from": Jid2String(e.From)},
                state="unavailable" if e.Unavailable else "available",
            )
        )
        on(MessageEv)(self.message)
        on(UndecryptableMessageEv)(lambda *_: say("undecryptable"))

    def opened(self):
        me = self.client.get_me()
        say("open", jid=Jid2String(me.JID), lid=Jid2String(me.LID))

    def chat_presence(self, _, event):
        state = "composing"
        if event.State == proto.ChatPresence.PAUSED:
            state = "available"  # as Baileys calls it
        elif event.Media == proto.ChatPresence.AUDIO:
            state = "recording"
        source = event.MessageSource
        say("presence", chat=Jid2String(source.Chat), **{"from": Jid2String(source.Sender)}, state=state)

    def message(self, _, event):
        text = plain(event.Message)
        source = event.Info.MessageSource
        if text:
            say(
                "message",
                chat=Jid2String(source.Chat),
                **{"from": Jid2String(source.Sender)},
                me=source.IsFromMe,
                text=text,
            )

    def connect(self):
        def run():
            try:
                self.client.connect()
            except BaseException as error:  # the thread's end must not be silent
                say("error", text=repr(error))

        threading.Thread(target=run, daemon=True).start()

    def code(self, number):
        say("code", code=self.client.PairPhone(number, False))

    def show(self, to, state):
        show = ChatPresence.CHAT_PRESENCE_PAUSED if state == "paused" else ChatPresence.CHAT_PRESENCE_COMPOSING
        audio = state == "recording"
        media = ChatPresenceMedia.CHAT_PRESENCE_MEDIA_AUDIO if audio else ChatPresenceMedia.CHAT_PRESENCE_MEDIA_TEXT
        self.client.send_chat_presence(jid(to), show, media)

    def available(self, on):
        self.client.send_presence(Presence.AVAILABLE if on else Presence.UNAVAILABLE)

    def subscribe(self, to):
        self.client.subscribe_presence(jid(to))

    def look_up(self, number):
        found = self.client.is_on_whatsapp(number)
        exists = bool(found) and found[0].IsIn
        say("looked_up", exists=exists, jid=Jid2String(found[0].JID) if found else "", query=found[0].Query if found else "")

    def group(self, group):
        info = self.client.get_group_info(jid(group))
        say("group", subject=info.GroupName.Name, size=len(info.Participants))

    def text(self, to, text):
        say("sent", id=self.client.send_message(jid(to), text).ID)

    def logout(self):
        self.client.logout()

    def quit(self):
        self.client.disconnect()
        os._exit(0)


driver = Driver(sys.argv[1])
say("ready")
for line in sys.stdin:
    command = json.loads(line)
    do = command.pop("do")
    try:
        getattr(driver, do)(**command)
    except Exception as error:
        say("error", of=do, text=repr(error))
os._exit(0)
