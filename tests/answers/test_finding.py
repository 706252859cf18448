"""Where the answer of a reply is: joined boxes, labels, letters, the number that is asked for, and replies cut off."""

import random
import time

import pytest

from trl_r1.answers.declared import decide_as
from trl_r1.answers.equality import decide
from trl_r1.answers.extract import extract
from trl_r1.answers.letters import chosen
from trl_r1.answers.moved import moved_factor
from trl_r1.rewards.accuracy import verify


BOXES = [
    ("The roots are \\boxed{-3} and \\boxed{4}.", "-3, 4"),
    ("\\(\\boxed{-3}\\) or \\(\\boxed{4}\\)", "-3, 4"),
    ("First \\boxed{-3}. No, wait: \\boxed{4}", "4"),
    ("$x=\\boxed{4}$ and $x=\\boxed{-3}$", "4, -3"),
    ("$\\boxed{2}$, $\\boxed{3}$, and $\\boxed{5}$", "2, 3, 5"),
    ("\\boxed{1}、\\boxed{2}", "1, 2"),
    ("\\boxed{1}或\\boxed{2}", "1, 2"),
    ("\\boxed{-3}\\text{ or }\\boxed{4}", "-3, 4"),
    ("\\[x = \\boxed{2} \\quad \\text{or} \\quad x = \\boxed{3}\\]", "2, 3"),
    ("either \\boxed{2} or \\boxed{3}", "2, 3"),
    ("\\boxed{5} or \\boxed{\\frac{10}{2}}", "5"),
    ("\\boxed{3}\n\nActually, \\boxed{4}", "4"),
    ("\\boxed{2}, so the sum is \\boxed{5}", "5"),
    ("\\boxed{3} as well as \\boxed{4}", "3, 4"),
    ("$\\boxed{3}$ cm and $\\boxed{4}$ cm", "3, 4"),
    ("\\boxed{A} and \\boxed{C}", "A, C"),
    ("\\boxed{4}, not \\boxed{5}", "5"),
    ("\\boxed{4}. Check: \\boxed{4}", "4"),
    ("$x_1=\\boxed{2}$，$x_2=\\boxed{3}$", "2, 3"),
    ("\\boxed{2}; or rather \\boxed{3}", "3"),
    ("We got \\boxed{7}. Then \\boxed{8} and \\boxed{9}.", "8, 9"),
]

ASKED = [
    ("Answer: Mia has 8 pears.", "8"),
    ("答：小红有8个梨。", "8"),
    ("The smallest $k$ is 19.", "19"),
    ("Therefore Ben has to pay $35 for 7 tickets.", "$35"),
    ("Final Answer: There are 12 cats in 3 boxes.", "12"),
    ("**Answer:** The train travels 180 miles in 3 hours.", "180"),
    ("答案：一共需要付35元。", "35"),
    ("The value of $x$ is $34$.", "34"),
    ("The maximum value is $12$ when $x = 3$.", "12"),
    ("Hence there are 12 such values of $n$.", "12"),
    ("So 34 is the largest $n$.", "34"),
    ("He earns $50 in 2 days.", "$50"),
    ("She will finish in 5 days.", "5"),
    ("8 of the 12 apples are red.", "8"),
    ("There are 24 marbles in 3 bags.", "24"),
    ("3 workers finish the job in 6 days.", "6"),
    ("He sold the 3 boxes for $60.", "$60"),
    ("Ben can buy 7 tickets for $35.", "7"),
    ("He needs 2 hours to read 80 pages.", "2"),
    ("付35元买7张票。", "35"),
    ("3 bags contain a total of 24 marbles.", "24"),
    ("Rounded to the nearest 10, the answer is 60.", "60"),
    ("The total is 5 for 3 kids.", "5"),
    ("The answer is 64 dollars because 16*4 = 64.", "64 dollars"),
    ("Answer:\n12", "12"),
    ("Answer: 12\n", "12"),
    ("The answer is $n$ = 5.", "5"),
    ("Answer: $x$ is 5.", "5"),
    ("So the answer must be 12.", "12"),
    ("The answer is 3 or 4.", "3 or 4"),
    ("A: She has 5 dogs.", "5"),
    ("Solution: He ate 4 of the 9 cookies.", "4"),
    ("答案：小明有5本书和3支笔", "3"),
    ("He uses 4 eggs for 12 cookies each day.", "4"),
    ("It costs 12 dollars for 3 kids and 2 adults.", "12"),
    ("The least number of moves is $\\boldsymbol{7}$.", "\\boldsymbol{7}"),
    ("The perimeter of $ABCD$ is 24.", "24"),
    ("Thus $f(x)$ equals 7.", "7"),
]

LETTERS = [
    ("The answer is D because the others fail.", "D"),
    ("Option C is right.", "C"),
    ("故选D。", "D"),
    ("综上，正确选项为 C。", "C"),
    ("The answer is not D but C.", "C"),
    ("I think so.", "I think so"),
    ("It is a.", "It is a"),
    ("The answer is $\\text{(B)}$.", "B"),
    ("Answer: (B)", "B"),
    ("Options A and C are correct.", "A, C"),
    ("Option C is right. Option A is wrong.", "C"),
    ("The answer is B or C.", "B or C"),
    ("Answer: C. Because x.", "C"),
    ("The correct answer is B. Because x.", "B"),
]

CUT = [
    ("We add them up. So, it", None),
    ("#### ", None),
    ("text\n####", None),
    ("So the total is 12", "12"),
    ("We add them.\nThen", None),
    ("so 3 + 4 =", None),
    ("Paris", "Paris"),
    ("Yes", "Yes"),
    ("It is\n\nParis", "Paris"),
    ("The answer is", None),
    ("So the answer is $\\frac{1}{", None),
    ("Step 3: now we will", None),
    ("so x = 5", "5"),
    ("The answer is Paris", "Paris"),
    ("Therefore option C", "C"),
    ("C", "C"),
    ("We compute the sum and then divide it by", None),
    ("所以，我们", None),
    ("因此答案是12", "12"),
    ("He bought the", None),
]

CHOSEN = [
    ("Option C is right.", "C"),
    ("The answer is D because the others fail.", "D"),
    ("故选D。", "D"),
    ("综上，正确选项为 C。", "C"),
    ("Options A and C are correct.", "A, C"),
    ("I choose B.", "B"),
    ("So the correct answer is (B).", "B"),
    ("C is correct, since D fails.", "C"),
    ("Option A is wrong.", ""),
    ("I think a is fine.", ""),
    ("The answer is A good one.", ""),
    ("The answer is I.", ""),
    ("故选：ABD", "A, B, D"),
    ("不选C", ""),
    ("选项C错误", ""),
    ("C选项正确。", "C"),
    ("angle C is right", ""),
    ("Therefore, the answer is \\boxed", ""),
    ("Thus, (C).", "C"),
    ("Hence B.", "B"),
    ("Therefore option (D).", "D"),
    ("The correct choice is \\textbf{(E)}.", "E"),
    ("答案选B", "B"),
    ("本题选A、C。", "A, C"),
    ("应选BD", "B, D"),
    ("The incorrect statement is C.", "C"),
    ("B or C is correct.", ""),
    ("The answer is B or C", ""),
    ("The answer is not D but C", ""),
    ("We choose a.", ""),
    ("Vitamin C is right.", ""),
    ("The answer is $\\text{(B)}$", "B"),
    ("The best answer is **C**.", "C"),
    ("Option A gives 3, option B gives 4, so option B.", "B"),
    ("A is the answer.", "A"),
    ("正确的是AC", "A, C"),
    ("正确答案是：B", "B"),
    ("A hyperbola is the answer", ""),
    ("The answer: A hyperbola", ""),
    ("D is true.", "D"),
    ("Answer: C", "C"),
    ("So I pick D as my answer.", "D"),
    ("It must be C", ""),
    ("选项A和C均正确", "A, C"),
    ("因此答案为（C）。", "C"),
    ("Choose C.", "C"),
    ("Let A be a set.", ""),
    ("So A = 5", ""),
    ("The answer is C = 5", ""),
    ("the set is A", ""),
    ("Both B and D are true.", "B, D"),
    ("Statement B is true", "B"),
    ("The right option is B, because x>2", "B"),
    ("We can't choose C.", ""),
    ("Options B, C, and D are incorrect, so A.", "A"),
]

MORE = [  # (last sentence, an answer equal to the one it gives)
    ("The final answer is: $\\boxed{\\text{(C)}}$", "C"),
    ("So the correct option is **(D) 24**.", "D"),
    ("Therefore, the correct answer is option A.", "A"),
    ("I'd go with B.", "B"),
    ("因此选C。", "C"),
    ("答案：D", "D"),
    ("综上所述，本题正确答案为A。", "A"),
    ("Answer: I", "I"),
    ("Hence, the smallest possible value of $n$ is 15.", "15"),
    ("In total, he spent $45 on 3 shirts.", "45"),
    ("Each child gets 4 apples.", "4"),
    ("After 3 days, she has 12 eggs left.", "12"),
    ("Thus, it takes 8 hours for 3 workers.", "8"),
    ("There are 120 ways to arrange the 5 books.", "120"),
    ("The probability is 3/8.", "3/8"),
    ("The sum of the 3 numbers is 24.", "24"),
    ("So Tom needs 6 more dollars to buy 2 pens.", "6"),
    ("He will be 45 years old in 10 years.", "45"),
    ("答：一共有24个苹果。", "24"),
    ("答：需要5天。", "5"),
    ("所以小明还剩3个苹果。", "3"),
    ("The area of the circle with radius $3$ is $9\\pi$.", "9\\pi"),
    ("The radius is $5$ cm.", "5"),
    ("The distance between $A$ and $B$ is $13$.", "13"),
    ("We get $x = 5$.", "x = 5"),
    ("It follows that $f(2) = 7$.", "7"),
    ("The slope of the line is $-2$.", "-2"),
    ("She saves $20 every 2 weeks.", "20"),
    ("The answer is approximately 3.14.", "3.14"),
    ("The total cost is $12.50 for the 5 books.", "12.50"),
    ("The number of students is 30, of which 12 are girls.", "30"),
    ("Her average speed is 60 miles per hour over 3 hours.", "60"),
    ("It sold 15 of 20 cars.", "15"),
    ("Only 3 of the 10 integers work.", "3"),
    ("20% of the 50 students passed.", "20%"),
    ("The price rose from 10 to 15 dollars.", "15"),
    ("He ran 5 miles on each of 4 days.", "5"),
    ("The largest integer $k$ such that $2^k < 100$ is 6.", "6"),
    ("$n$ can be at most 34.", "34"),
    ("So $a+b=7$.", "7"),
    ("Thus there are 6 solutions with $x>0$.", "6"),
]


@pytest.mark.parametrize(("text", "gold"), MORE)
def test_sentences_as_models_write_them(text, gold):
    assert verify(extract(text), gold) is True


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_boxes_of_one_statement_are_one_answer(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(("text", "answer"), ASKED)
def test_the_number_that_is_asked_for(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(("text", "answer"), LETTERS)
def test_a_letter_without_a_box(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(("text", "letters"), CHOSEN)
def test_which_letters_a_sentence_chooses(text, letters):
    assert chosen(text)[0] == letters


@pytest.mark.parametrize(("text", "answer"), CUT)
def test_a_sentence_that_was_cut_off(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize("text", ["#### 4", "The answer is 4", "<answer>4", "so x = 4.", "\\boxed{4", "C", "4"])
def test_a_reply_known_to_be_cut_off_has_no_open_answer(text):
    assert extract(text, truncated=True) is None


@pytest.mark.parametrize("text", ["\\boxed{4} and then", "<answer>4</answer> Let", "So \\boxed{4}, since 2 + 2"])
def test_a_closed_answer_counts_though_the_reply_was_cut_off(text):
    assert extract(text, truncated=True) == "4"


@pytest.mark.parametrize("label", ["Answer: ", "**Answer:** ", "Final answer: ", "A: ", "Answer:\n", "Ans: "])
@pytest.mark.parametrize(
    ("sentence", "answer"),
    [
        ("Mia has 8 pears.", "8"),
        ("The largest $n$ is 34.", "34"),
        ("Option C is right.", "C"),
        ("Ben pays $35 for 7 tickets.", "$35"),
        ("There are 24 marbles in 3 bags.", "24"),
    ],
)
def test_a_label_before_a_sentence_changes_nothing(label, sentence, answer):
    assert extract(sentence) == answer
    assert extract(label + sentence) == answer


PIECES = [
    "A, ",
    "A and ",
    "(A",
    "( B ) ",
    "\\boxed{1} or ",
    "\\boxed{1}",
    "x = ",
    "f(",
    "f((",
    "|A",
    "answer is ",
    "Option C ",
    "$n$ ",
    "for 7 ",
    "to run ",
    "5 or ",
    "选A",
    "= x",
    "\\frac{1}{2}",
    "_{",
    "a=1, ",
    "is ",
    "the ",
    "not ",
    "\\text{",
    "$",
    "1 2 ",
    "\\angle ",
    " ",
    "'",
    "{",
    "或",
    "和",
    "-",
    "if ",
    "ABCD",
    "Answer: ",
    "####",
    ". ",
    "\n",
    "Paris",
    "是",
    "\\",
    "^",
    "}",
    "+",
    "<answer>",
]


def texts_of_pieces() -> list[str]:
    draw = random.Random(0)
    mixed = ["".join(draw.choices(PIECES, k=draw.choice((5, 40, 400)))) for _ in range(200)]
    pairs = [(one + other) * 200 for one in PIECES[:12] for other in PIECES[:24]]
    return [piece * count for piece in PIECES for count in (30, 1000)] + pairs + mixed


def test_finding_an_answer_takes_no_time_whatever_the_text():
    """Processor time: repeated alternatives used to be read in exponentially many ways ("A, A, A, ...")."""
    slow = []
    for text in texts_of_pieces():
        started = time.process_time()
        extract(text)
        for gold in ("x=5", "5", "a=1, b=2", "Paris", "BD", "(1, 2)", "C"):
            decide(text[:1000], gold)
            decide(gold, text[:1000])
        for kind in ("sequence", "fact"):
            extract(text, kind=kind)
            decide_as(kind, text[:1000], "1, 2, 3")
        moved_factor(text[:300])
        if time.process_time() - started > 2.0:
            slow.append(text[:60])
    assert slow == []
