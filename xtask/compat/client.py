# Drives a client of another gateway's API: commands come as lines of JSON on standard input, what came of each
# goes out as a line of JSON.
#
# usage: python client.py CLIENT BASE_URL
#
# A command is {"do": NAME, "key": TOKEN, …arguments}. The clients are used as their own documentation has it.

import json
import sys


def pyevolutionapi(url, key):
    from pyevolutionapi import EvolutionClient

    client = EvolutionClient(base_url=url, api_key=key)
    return {
        "fetch_instances": lambda: [item.model_dump(mode="json") for item in client.instance.fetch_instances()],
        "connection_state": lambda instance: client.instance.connection_state(instance),
        "set_presence": lambda instance, presence: client.instance.set_presence(instance, presence),
        "send_presence": lambda instance, number, presence, delay: client.chat.send_presence(
            instance, number, presence=presence, delay=delay
        ),
    }


def evolutionapi(url, key):
    from evolutionapi.client import EvolutionClient
    from evolutionapi.models.chat import Presence
    from evolutionapi.models.presence import PresenceStatus

    client = EvolutionClient(base_url=url, api_token=key)
    return {
        "fetch_instances": lambda: client.instances.fetch_instances(),
        "connection_state": lambda instance: client.instance_operations.get_connection_state(instance, key),
        "set_presence": lambda instance, presence: client.instance_operations.set_presence(
            instance, PresenceStatus(presence), key
        ),
        "send_presence": lambda instance, number, presence, delay: client.chat.send_presence(
            instance, Presence(number=number, delay=delay, presence=presence), key
        ),
    }


def waha(url, key):
    from waha import WahaClient, models

    client = WahaClient(base_url=url, api_key=key)

    def chat(session, number):
        return models.ChatRequest(session=session, chatId=f"{number}@c.us")

    def presence(session, presence, number=None):
        # As the package's own model has it; what is not set must not be sent.
        request = models.WAHASessionPresence(presence=presence, chatId=number and f"{number}@c.us")
        return client.presence.set_presence(session, request.model_dump(mode="json", exclude_none=True))

    return {
        "sessions": lambda: client.sessions.list(),
        "session": lambda session: client.sessions.get(session),
        "start_typing": lambda session, number: client.chatting.start_typing(chat(session, number)),
        "stop_typing": lambda session, number: client.chatting.stop_typing(chat(session, number)),
        "set_presence": presence,
    }


CLIENTS = {"pyevolutionapi": pyevolutionapi, "evolutionapi": evolutionapi, "waha-py": waha}


def say(event):
    print(json.dumps(event), flush=True)


def main():
    name, url = sys.argv[1:]
    say({"event": "ready"})
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "quit":
            return
        key = command.pop("key")
        try:
            say({"event": "done", "value": CLIENTS[name](url, key)[do](**command)})
        except Exception as error:
            response = getattr(error, "response", None)
            body = response.text if response is not None else str(getattr(error, "response_data", ""))
            say({"event": "done", "refused": f"{type(error).__name__}: {error} {body}"})


main()
