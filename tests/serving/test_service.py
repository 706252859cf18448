"""Text that is sent while it is generated is the text of the whole reply."""

from fitting_tokenizers import fitting, template_text

from trl_r1.models.rendering import Renderer
from trl_r1.serving.service import Pieces


def test_marks_that_are_special_tokens_are_streamed_as_the_whole_text_has_them():
    tokenizer = fitting("qwen3", think_is_special=True)
    renderer = Renderer(tokenizer, chat_template=template_text("qwen3"))
    ids = tokenizer("<think>hm\u00e9</think>Four.<|im_end|>", add_special_tokens=False)["input_ids"]
    texts = []
    pieces = Pieces(renderer.decode, lambda number, piece: texts.append(piece))
    for token in ids:
        pieces.add(0, token)
    assert texts[0] == "<think>"
    assert "".join(texts) == renderer.decode(ids) == "<think>hm\u00e9</think>Four."
    assert all("\ufffd" not in piece for piece in texts)
