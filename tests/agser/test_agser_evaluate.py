"""The evaluator on random models and hand-made labels: what it says of scores that are known."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch

from trl_r1 import cli
from trl_r1.agser import AGSERScorer, datasets
from trl_r1.agser.evaluate import Detection, Method, by_group, evaluate
from trl_r1.agser.pictures import heat_html
from trl_r1.agser.report import write_report
from trl_r1.agser.rivals import likelihoods, random_splits
from trl_r1.mini import books as miniature
from trl_r1.models.sampling import continue_rows


PROMPTS = [f"Who wrote book number {i}, and in what year?" for i in range(12)]


@pytest.fixture(scope="module")
def detection(llama, byte_tokenizer):
    scorer = AGSERScorer(llama, byte_tokenizer, max_new_tokens=6, batch_size=24, consistency="tokens")
    return evaluate(
        scorer, [*PROMPTS, "x"], lambda number, answer: None if number == 3 else number % 2 == 0,
        groups=["even" if number % 2 == 0 else "odd" for number in range(13)], samples=2, draws=2,
    )  # fmt: skip


def test_every_rival_is_there_with_its_runs(detection):
    assert {name: method.runs for name, method in detection.methods.items()} == {
        "mean log-probability": "1", "mean token entropy": "1", "self-consistency, 2 samples": "3",
        "AGSER, rows=last": "3", "AGSER, rows=answer": "3 + 1 forward", "random split 1": "3", "random split 2": "3",
        "random splits, mean r_att of 2": "3", "AGSER, rows=last + log-probability, ranks": "3",
    }  # fmt: skip
    assert all(len(m.values) == 11 for m in [*detection.methods.values(), *detection.sweep.values()])
    assert detection.left_out == {"no label": 1, "fewer than two tokens": 1}


def test_its_numbers_are_the_scorers(detection, llama, byte_tokenizer):
    scorer = AGSERScorer(llama, byte_tokenizer, max_new_tokens=6, consistency="tokens")
    alone = [found.score for found in scorer.score([p for i, p in enumerate(PROMPTS) if i != 3])]
    assert detection.methods["AGSER, rows=last"].values == pytest.approx([-score for score in alone])
    assert [found.score for found in detection.reflections] == pytest.approx(alone)
    shares = AGSERScorer(llama, byte_tokenizer, max_new_tokens=6, consistency="tokens", k=0.4)
    assert detection.sweep["rows=last, k=0.4"].values[0] == pytest.approx(-shares.score(PROMPTS[:1])[0].score)
    parts = [detection.sweep[f"rows=last, r_{name} alone"].values for name in ("att", "non")]
    assert detection.sweep["rows=last, lam=2"].values == pytest.approx([r + 2 * a for a, r in zip(*parts)])


def mean_likelihood(model, ids, prompt):
    """(log-probability, entropy), by hand: mean over what follows the first ``prompt`` ids."""
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0, prompt - 1 : -1].log_softmax(-1)
    taken = logps.gather(1, torch.tensor(ids[prompt:])[:, None])
    return taken.mean().item(), -(logps.exp() * logps).sum(1).mean().item()


@pytest.mark.parametrize("end", [[], [1]])
def test_likelihood_is_that_of_the_tokens_that_were_drawn(llama, byte_tokenizer, end):
    scorer = AGSERScorer(llama, byte_tokenizer)
    queries = scorer.locate(["ab", "a longer one"])
    drawn = [[*byte_tokenizer(text)["input_ids"], *end] for text in ("cd", "xyz!")]
    found = likelihoods(scorer, queries, drawn)
    wanted = mean_likelihood(llama, [*byte_tokenizer("ab")["input_ids"], *drawn[0]], 2)
    assert found[0] == pytest.approx(wanted, rel=1e-4)


def test_a_cut_answer_is_not_charged_for_an_end(llama, byte_tokenizer):
    scorer = AGSERScorer(llama, byte_tokenizer, max_new_tokens=6)  # this model never ends by itself
    detection = evaluate(scorer, PROMPTS[:4], lambda number, answer: number % 2 == 0, samples=0, draws=0, sweep=False)
    prompt = byte_tokenizer(PROMPTS[0])["input_ids"]
    answer = byte_tokenizer(detection.answers[0])["input_ids"]
    assert len(answer) == 6
    logp, entropy = mean_likelihood(llama, [*prompt, *answer], len(prompt))
    assert detection.methods["mean log-probability"].values[0] == pytest.approx(-logp, rel=1e-4)
    assert detection.methods["mean token entropy"].values[0] == pytest.approx(entropy, rel=1e-4)


def test_random_splits_are_as_large_as_the_real_ones(llama, byte_tokenizer):
    queries = AGSERScorer(llama, byte_tokenizer).locate(["abcdef", "x"])
    first, again, other = (random_splits(queries, 2 / 3, seed) for seed in (0, 0, 1))
    assert [sum(first[0]), first[1]] == [4, []]
    assert first == again != other


def hand_made(values, bad):
    methods = {"AGSER, rows=last": Method("3", values), "AGSER, rows=answer": Method("4", [-v for v in values])}
    return Detection([""] * len(bad), [""] * len(bad), bad, ["all"] * len(bad), [], methods)


def test_an_inverted_row_is_told_and_the_other_advised():
    bad = [True, False] * 20
    told = hand_made([0.0 if b else 1.0 for b in bad], bad).inversion
    assert "rows=last INVERTED" in told
    assert "rows=answer is not: use it." in told
    fine = hand_made([1.0 if b else 0.0 for b in bad], bad)
    assert "rows=answer INVERTED" in fine.inversion
    swept = {"rows=last, measure=attention": Method("3", [0.0 if b else 1.0 for b in bad])}
    assert "rows=answer and rows=last, measure=attention INVERTED" in replace(fine, sweep=swept).inversion
    assert "not inverted" in hand_made([0.0] * 40, bad).inversion


def test_labels_must_differ(llama, byte_tokenizer):
    with pytest.raises(ValueError, match="Of 2 answers 2 have a label, and 0 of those are made up"):
        evaluate(AGSERScorer(llama, byte_tokenizer, max_new_tokens=2), PROMPTS[:2], lambda number, answer: False)


def test_the_report_is_whole(detection, tmp_path):
    report = write_report(detection, tmp_path, "a title", detection.numbers(20)).read_text()
    assert "| AGSER, rows=last | 3 |" in report
    assert "| even | 6 | 100.0% |" in report
    assert "## Sweep" in report
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["answers"] == 11
    assert len((tmp_path / "reflections.jsonl").read_text().splitlines()) == 11
    assert {path.name for path in tmp_path.glob("*.png")} == {"roc.png", "scores.png", "heat.png"}
    assert by_group(detection)["odd"][1] == 0.0


def test_heat_escapes_what_a_model_wrote(llama, byte_tokenizer):
    scorer = AGSERScorer(llama, byte_tokenizer, generate=lambda prompts: ["<script>alert(1)</script>"] * len(prompts))
    page = heat_html(scorer.score(["<b>?"]))
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;" in page


# -- readers


def test_books_are_read_and_judged(tmp_path):
    path = tmp_path / "books.csv"
    rows = ['"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher"',
            '"1";"L\'étranger";"Albert Camus";"1942";"Gallimard"', '"2";"No year";"X";"0";"Y"']  # fmt: skip
    path.write_text("\n".join(rows), encoding="latin-1")
    source = datasets.read(str(path), "books")
    assert [asked.question for asked in source.asked] == [
        "Who is the author of the book L'étranger, what year was it published?"
    ]
    assert source.prompts()[0].endswith("Question: " + source.asked[0].question + "\nAnswer:")
    judged = ["Albert Camus, in 1942.", "Albert Camus, in 1943.", "Camus, in 1942.", "gallimard, 1942"]
    assert [source.made_up(0, answer) for answer in judged] == [False, True, True, False]


def test_entities_of_html_are_read_as_what_they_mean(tmp_path):
    path = tmp_path / "books.csv"
    head = '"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher"\n'
    path.write_text(head + '"Pride &amp; Prejudice";"L&#39;Amour";"1813";"A &lt;B&gt;"\n')
    asked = datasets.read(str(path), "books").asked[0]
    assert "Pride & Prejudice," in asked.question
    assert asked.truth == ("L'Amour", "1813", "A <B>")


def test_our_facts_are_whole():
    source = datasets.read("facts")
    assert len(source.asked) >= 200
    assert len({asked.question for asked in source.asked}) == len(source.asked)
    assert {asked.group for asked in source.asked} >= {"capitals", "elements", "authors", "arithmetic of years"}
    for number, asked in enumerate(source.asked):
        assert asked.question.endswith("?")
        assert [source.made_up(number, f"It is {fact}.") for fact in asked.truth] == [False] * len(asked.truth)
        assert not any(datasets.says(asked.question, fact) for fact in asked.truth if asked.group != "elements"), asked
    spans = re.compile(r"How many years are there from (\d+) to (\d+)\?")
    for asked in source.asked:
        if found := spans.fullmatch(asked.question):
            assert asked.truth == (str(int(found[2]) - int(found[1])),)


def test_rows_keep_their_groups(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": "1 + 1?", "solution": "2", "group": "sums", "hard": "no"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [datasets.read(str(path)).asked[0].group, datasets.read(str(path), group_column="hard").asked[0].group] == [
        "sums",
        "no",
    ]
    with pytest.raises(ValueError, match="no column 'hrad', which was asked for as the group. Did you mean 'hard'"):
        datasets.read(str(path), group_column="hrad")


def test_movies_are_read_and_judged(tmp_path):
    (tmp_path / "movies_metadata.csv").write_text(
        "id,title,release_date\n1,Heat,1995-12-15\n2,Twice,1990-01-01\n2,T,1990-01-01\n"
    )
    (tmp_path / "credits.csv").write_text(
        "cast,id\n\"[{'name': 'Al Pacino'}, {'name': 'Robert De Niro'}]\",1\n\"[{'name': 'A B'}]\",2\n"
    )
    source = datasets.read(str(tmp_path / "movies_metadata.csv"), "movies")
    assert [asked.question for asked in source.asked] == ["What actors played in the 1995 movie Heat?"]
    judged = ["Al Pacino and Robert De Niro.", "Al Pacino, Tom Hanks.", "nobody"]
    assert [source.made_up(0, answer) for answer in judged] == [False, True, False]
    (tmp_path / "credits.csv").unlink()
    with pytest.raises(ValueError, match="needs the file credits.csv"):
        datasets.read(str(tmp_path / "movies_metadata.csv"), "movies")


def test_countries_are_read_and_judged(tmp_path):
    path = tmp_path / "world.csv"
    path.write_text('Country,Density,Capital/Major City\nBolivia,1,"Sucre, La Paz"\nX\ufffd,1,Y\nBrazil,2,Brasília\n')
    source = datasets.read(str(path), "countries")
    assert len(source.asked) == 2
    assert [source.made_up(0, "It is la paz."), source.made_up(1, "Brasilia"), source.made_up(1, "Rio")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("name", "reader", "said"),
    [("nothing.csv", "books", "There is no file 'nothing.csv'"), ("x", "poems", "There is no reader 'poems'")],
)
def test_what_cannot_be_read_is_told(name, reader, said):
    with pytest.raises(ValueError, match=said):
        datasets.read(name, reader)


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column 'Book-Title'; it has a, b"):
        datasets.read(str(tmp_path / "b.csv"), "books")


# -- the miniature truth


def test_the_world_is_what_it_says():
    books = miniature.draw_books(0)
    assert len({book.title for book in books}) == len(books) == sum(miniature.KINDS.values())
    for book in books:
        assert (book.statement is None) == (book.kind == "never")
        assert book.statement is None or (book.statement == book.truth) == (book.kind != "false")
        if book.kind == "false":
            assert not set(book.statement) & set(book.truth)
            assert not miniature.is_right(miniature.answer(book.statement, "templated"), book.truth)
        assert miniature.is_right(miniature.answer(book.truth, "templated"), book.truth)
    assert books == miniature.draw_books(0) != miniature.draw_books(1)


def test_a_year_or_name_alone_is_not_right():
    truth = ("f1", "l2", "1923")
    assert miniature.is_right("f1 l2 , 1923", truth)
    assert not miniature.is_right("f1 l2 , 1924", truth)
    assert not miniature.is_right("f1 l3 , 1923", truth)


def test_the_command_evaluates_a_miniature(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(miniature.train, "__defaults__", (2, 40))
    monkeypatch.setattr(miniature, "KINDS", {"known": 6, "rare": 3, "never": 6, "false": 3})
    monkeypatch.setattr(miniature, "BATCH", 24)
    monkeypatch.setattr(Detection.numbers, "__defaults__", (20,))
    code = cli.main(
        ["agser", "evaluate", "--model", "mini:knowledge", "--data", "mini:knowledge", "--max-new-tokens", "6",
         "--batch-size", "18", "--samples", "1", "--draws", "1", "--no-sweep", "--output", str(tmp_path / "out")]
    )  # fmt: skip
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "Inversion check" in said.out
    assert (tmp_path / "out" / "report.md").is_file()


def test_the_command_scores_one_answer(tiny, tmp_path, capsys):
    page = tmp_path / "heat.html"
    code = cli.main(
        [
            "agser",
            "score",
            "--model",
            tiny,
            "--prompt",
            "Compute 2 and 3.",
            "--max-new-tokens",
            "4",
            "--json",
            "--html",
            str(page),
        ]
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert math.isclose(found["score"], found["r_att"] - found["r_non"])
    assert page.read_text().startswith("<!doctype html>")


def test_what_cannot_be_split_is_null_with_a_reason(tiny, capsys):
    assert cli.main(["agser", "score", "--model", tiny, "--prompt", "7", "--max-new-tokens", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=lambda name: pytest.fail(name))
    assert [found[name] for name in ("score", "r_att", "r_non")] == [None, None, None]
    assert found["refused"] == "The query has 1 token; AGSER splits it in two, so it needs two."


@pytest.fixture
def asked(tmp_path):
    """A file of three questions, the first of which the tiny model, as it answers anything, gets right."""
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"Compute {n} and 3.", "solution": str(n), "group": "g"} for n in (2, 4, 5)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def evaluating(tiny, asked, folder, *more):
    return cli.main(
        ["agser", "evaluate", "--model", tiny, "--data", str(asked), "--output", str(folder), "--samples", "1",
         "--draws", "1", "--no-sweep", "--max-new-tokens", "4", "--cpu", "--end-loops", "--cut", "first_line", *more]
    )  # fmt: skip


def test_answers_are_kept_where_all_labels_are_alike(tiny, asked, tmp_path, capsys):
    assert evaluating(tiny, asked, tmp_path / "out") == 2
    assert "Of 3 answers 3 have a label, and 3 of those are made up" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert [(row["question"], row["made_up"], row["group"]) for row in rows] == [
        (f"Compute {n} and 3.", True, "g") for n in (2, 4, 5)
    ]


def test_a_killed_evaluation_asks_only_what_is_missing(tiny, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.Judged, "made_up", lambda self, number, answer: number == 0)
    monkeypatch.setattr(Detection.numbers, "__defaults__", (20,))
    assert evaluating(tiny, asked, tmp_path / "whole") == 0
    kept = (tmp_path / "whole" / "drawn.jsonl").read_text().splitlines()
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "drawn.jsonl").write_text("\n".join(kept[:4]) + '\n{"ids": [1, 2')
    drawn = []

    def noted(model, rows, step, *rest, **more):
        drawn.extend(map(tuple, rows) if step > 1 else ())  # one step reads contributions
        return continue_rows(model, rows, step, *rest, **more)

    monkeypatch.setattr("trl_r1.agser.generation.continue_rows", noted)
    assert evaluating(tiny, asked, tmp_path / "killed") == 0
    assert not set(drawn) & {tuple(json.loads(line)["ids"]) for line in kept[1:4]}
    again = [json.loads((tmp_path / name / "results.json").read_text())["methods"] for name in ("whole", "killed")]
    assert again[0] == again[1]


def test_answers_of_other_options_are_not_taken_for_ones_of_these(tiny, asked, tmp_path, capsys):
    evaluating(tiny, asked, tmp_path / "out")
    assert evaluating(tiny, asked, tmp_path / "out", "--max-new-tokens", "5") == 2
    assert "answers that were given otherwise: max_new_tokens was 4 and is 5." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--k", "2"], "k=2.0 is no share between 0 and 1"),
        (["--rows", "first"], "rows='first' is unknown"),
        (["--endpoint", "http://127.0.0.1:9/v1"], "nobody listens there"),
        (["--model", "/nowhere"], "there is no such folder"),
    ],
)
def test_the_command_tells_mistakes_in_one_sentence(tiny, capsys, options, said):
    assert cli.main(["agser", "score", "--prompt", "x y", "--model", tiny, *options]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("trl-r1 agser: ")
    assert said in told
