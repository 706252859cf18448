"""Paths of a real (tiny) model against a reference computed token by token, and of a server."""

import json
import threading

import pytest
import torch

from trl_r1.models.engines import SamplingServer
from trl_r1.routing.paths import Ask, Cancelled, EndpointPaths, ModelPaths, Settings, read_scored
from trl_r1.routing.router import Router, RoutingLimits


PROMPT = "User: Compute ①2 ②9 ③4. Assistant:"
SHORT = Settings(1.0, 1.0, 12)


def test_equal_seeds_give_equal_texts_and_the_random_state_stays(mini):
    paths = ModelPaths(*mini, batch_size=4)
    before = torch.get_rng_state()
    first = paths.draw([Ask(PROMPT, 3), Ask(PROMPT + " ", 2)], SHORT, 5)
    assert torch.equal(before, torch.get_rng_state())
    assert first == paths.draw([Ask(PROMPT, 3), Ask(PROMPT + " ", 2)], SHORT, 5)
    assert first != paths.draw([Ask(PROMPT, 3), Ask(PROMPT + " ", 2)], SHORT, 6)
    assert [len(found) for found in first] == [3, 2]
    assert all(
        path.token_count <= 12 and path.truncated == (path.token_count == 12) for path in first[0] if path.truncated
    )


def test_log_probabilities_and_entropies_against_one_pass_per_token(mini):
    model, tokenizer = mini
    prompts, replies = [[5, 6, 7], [8]], [[9, 10], [11, 12, 13, 14]]
    found = ModelPaths(model, tokenizer).doubts(prompts, replies)
    for prompt, reply, (logprob, entropy) in zip(prompts, replies, found):
        logs, entropies, ids = [], [], list(prompt)
        for token in reply:
            with torch.no_grad():
                p = model.double()(torch.tensor([ids])).logits[0, -1].softmax(-1)
            logs.append(p[token].log().item())
            entropies.append(-(p * p.log()).sum().item())
            ids.append(token)
        model.float()
        assert logprob == pytest.approx(sum(logs) / len(logs), abs=1e-5)
        assert entropy == pytest.approx(sum(entropies) / len(entropies), abs=1e-5)
    assert ModelPaths(model, tokenizer).doubts([[1]], [[]]) == [(None, None)]


def test_each_ask_has_its_own_limit_and_hears_its_tokens(mini):
    heard = []
    asks = [Ask(PROMPT, 1, 3), Ask(PROMPT, 2, on_token=lambda number, token: heard.append((number, token)))]
    found = ModelPaths(*mini).draw(asks, SHORT, 0)
    assert found[0][0].token_count <= 3
    for number, path in enumerate(found[1]):
        ids = [token for n, token in heard if n == number]
        assert mini[1].decode(ids, skip_special_tokens=True) == path.text
        assert len(ids) == path.token_count - (not path.truncated)  # the end token is not told


def test_who_gives_up_stops_the_generation(mini):
    gone = threading.Event()
    heard = []

    def third(number, token):
        heard.append(token)
        if len(heard) == 3:
            gone.set()

    with pytest.raises(Cancelled):
        ModelPaths(*mini).draw([Ask(PROMPT, 1, cancelled=gone.is_set, on_token=third)], Settings(1.0, 1.0, 200), 1)
    assert len(heard) == 3


def test_a_router_over_a_real_model(mini):
    router = Router(ModelPaths(*mini), SHORT, RoutingLimits(simple_below=0.0, most_paths=4, wave=4))
    found = router.answer(PROMPT, seed=3)
    again = router.answer(PROMPT, seed=3)
    assert found.to_dict() | {"seconds": 0} == again.to_dict() | {"seconds": 0}
    assert found.tokens == sum(path.token_count for path in found.paths)
    assert found.features["draft_entropy"] > 0


def test_log_probabilities_of_either_kind_of_answer():
    chat = b'{"choices": [{"message": {"content": "4"}, "logprobs": {"content": [{"logprob": -1}, {"logprob": -2}]}}]}'
    assert read_scored(chat).logprob == -1.5
    assert read_scored(b'{"choices": [{"text": "4", "logprobs": null}]}').logprob is None
    assert read_scored(b"nonsense") is None


def test_a_server_is_asked_for_log_probabilities(monkeypatch):
    from trl_r1.network.endpoint import Endpoint, Reply

    seen = []

    def answer(self, path, body):
        seen.append((path, body))
        return Reply(200, b'{"choices": [{"text": "\\\\boxed{4}", "logprobs": {"token_logprobs": [-0.5]}}]}')

    monkeypatch.setattr(Endpoint, "exchange", answer)
    paths = EndpointPaths(SamplingServer("http://127.0.0.1:9/v1", "m"))
    found = Router(paths, limits=RoutingLimits(simple_below=1.0)).answer("q")
    assert (found.answer, found.paths[0].logprob, found.tokens) == ("4", -0.5, 3)  # 9 characters, four to a token
    assert seen[0][1]["logprobs"] == 1
    with pytest.raises(Cancelled):
        paths.draw([Ask("q", 1, cancelled=lambda: True)], Settings(), 0)


def test_a_stop_string_ends_the_generation_and_its_tokens_are_counted(mini):
    paths = ModelPaths(*mini)
    whole = paths.draw([Ask(PROMPT, 1)], Settings(1.0, 1.0, 40), 11)[0][0]
    third = " ".join(whole.text.split()[2:4])
    heard = []
    one = Ask(PROMPT, 1, on_token=lambda number, token: heard.append(token))
    found = paths.draw([one], Settings(1.0, 1.0, 40, stop=("no such text", third)), 11)[0][0]
    assert whole.text.startswith(found.text)
    assert found.text == whole.text[: whole.text.index(third)]
    assert not found.truncated
    assert found.token_count == len(heard) < whole.token_count  # nothing is generated behind it
    assert third in mini[1].decode(heard)  # and what was generated of it counts


def test_rows_with_and_without_stop_strings_share_a_batch(mini):
    settings = Settings(1.0, 1.0, 24)
    plain = ModelPaths(*mini).draw([Ask(PROMPT, 1), Ask(PROMPT, 1)], settings, 3)
    word = plain[0][0].text.split()[1]
    mixed = ModelPaths(*mini).draw(
        [Ask(PROMPT, 1, settings=Settings(1.0, 1.0, 24, stop=(word,))), Ask(PROMPT, 1)], settings, 3
    )
    assert mixed[0][0].text == plain[0][0].text.partition(word)[0]
    assert mixed[1][0].text == plain[1][0].text


def test_the_likeliest_token_alone_is_greedy(mini):
    greedy = ModelPaths(*mini).draw([Ask(PROMPT, 1)], Settings(0.0, 1.0, 8), 0)[0][0]
    assert ModelPaths(*mini).draw([Ask(PROMPT, 1)], Settings(1.0, 1.0, 8, top_k=1), 5)[0][0].text == greedy.text
    with pytest.raises(ValueError, match="top_k=-1 is negative"):
        Settings(top_k=-1)


def replies(monkeypatch, *choices, usage=None):
    """A server that gives these choices one after the other; the bodies that it saw."""
    from trl_r1.network.endpoint import Endpoint, Reply

    seen, left = [], list(choices)

    def answer(self, path, body):
        seen.append(body)
        return Reply(200, json.dumps({"choices": [left.pop(0)], "usage": usage or {}}).encode())

    monkeypatch.setattr(Endpoint, "exchange", answer)
    return seen


def chat(**message):
    return {"message": {"role": "assistant", **message}, "finish_reason": "stop"}


def test_a_server_gets_the_settings_and_its_usage_is_kept(monkeypatch):
    seen = replies(monkeypatch, chat(content="4"), usage={"prompt_tokens": 7, "completion_tokens": 2})
    settings = Settings(0.5, 0.9, 8, 3, ("x",), False, {"enable_thinking": False}, {"presence_penalty": 1})
    found = EndpointPaths(SamplingServer("http://127.0.0.1:9/v1", "m")).draw([Ask([], 1)], settings, 0)[0][0]
    asked = {key: seen[0][key] for key in ("temperature", "top_p", "max_tokens", "top_k", "stop", "presence_penalty")}
    assert asked == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 8,
        "top_k": 3,
        "stop": ["x"],
        "presence_penalty": 1,
    }
    assert seen[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert (found.token_count, found.prompt_tokens, found.choice) == (2, 7, chat(content="4"))


def test_a_server_that_stops_inside_the_reasoning_is_asked_again_without_the_stop(monkeypatch):
    usage = {"completion_tokens": 5}
    seen = replies(
        monkeypatch,
        chat(content=None, reasoning_content="1,"),
        chat(content="1, 2", reasoning_content="1, 2"),
        usage=usage,
    )
    paths = EndpointPaths(SamplingServer("http://127.0.0.1:9/v1", "m"))
    found = paths.draw([Ask([], 1)], Settings(stop=(" 2",)), 0)[0][0]
    assert (found.text, found.token_count, found.truncated) == ("<think>1, 2</think>1,", 10, False)
    assert ("stop" in seen[0], "stop" in seen[1]) == (True, False)
    seen = replies(monkeypatch, chat(content=None, reasoning_content="1,"))
    assert (
        paths.draw([Ask([], 1)], Settings(stop=(" 2",), stop_in_reasoning=True), 0)[0][0].text == "<think>1,</think>"
    )


def test_log_probabilities_of_every_token_are_kept_only_for_who_asked(monkeypatch):
    scored = {**chat(content="4"), "logprobs": {"content": [{"logprob": -1.0}]}}
    replies(monkeypatch, scored, scored)
    paths = EndpointPaths(SamplingServer("http://127.0.0.1:9/v1", "m"))
    plain = paths.draw([Ask([], 1)], Settings(), 0)[0][0]
    assert (plain.logprob, plain.choice) == (-1.0, chat(content="4"))
    assert paths.draw([Ask([], 1)], Settings(extra={"logprobs": True}), 0)[0][0].choice == scored
