"""An agent framework's client (Pydantic AI) in front of the server: it calls a tool, is told the result, and answers."""

import os
import sys

import pytest


if os.environ.get("CI") != "true" or sys.version_info < (3, 11):  # under CI=true its absence is a failure
    pytest.importorskip("pydantic_ai", reason="pydantic-ai-slim[openai] is not installed")

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}


def choice(end, **message):
    return {"index": 0, "finish_reason": end, "message": {"role": "assistant", **message}}


def agent(server):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return Agent(OpenAIChatModel("mini", provider=OpenAIProvider(base_url=server.url, api_key="none")))


def test_an_agent_uses_its_tool_through_an_engine(start, upstream):
    usage = {"prompt_tokens": 20, "completion_tokens": 5}
    sampler, seen = upstream(
        choice("tool_calls", content=None, tool_calls=[CALL]),
        choice("stop", content="Rain in Bonn.", reasoning_content="It rains."),
        usage=usage,
    )
    server, cities = start(sampler), []
    asked = agent(server)

    @asked.tool_plain
    def weather(city: str) -> str:
        cities.append(city)
        return "rain"

    found = asked.run_sync("What is the weather in Bonn?")
    assert (found.output, cities) == ("Rain in Bonn.", ["Bonn"])
    assert seen[0]["tools"][0]["function"]["name"] == "weather"
    assert [message["role"] for message in seen[1]["messages"]] == ["user", "assistant", "tool"]
    assert seen[1]["messages"][1]["tool_calls"][0]["id"] == seen[1]["messages"][2]["tool_call_id"] == "c1"
    server.settle()


def test_an_agent_is_told_that_a_model_in_this_process_has_no_tools(start, queue):
    from pydantic_ai.exceptions import ModelHTTPError

    asked = agent(start(queue))
    assert isinstance(asked.run_sync("Write a poem.").output, str)

    @asked.tool_plain
    def weather(city: str) -> str:
        return "rain"

    with pytest.raises(ModelHTTPError, match="tools is not supported by a model in this server's process"):
        asked.run_sync("What is the weather in Bonn?")
