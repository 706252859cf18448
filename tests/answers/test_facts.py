"""Whether a text says a fact, in every way of writing: words whole, numbers by their value."""

import pytest

from trl_r1.answers.facts import found_in


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("作者是鲁迅，写于1923年。", "鲁迅"),
        ("作者是鲁迅，写于1923年。", "1923"),
        ("東京は日本の首都です", "東京"),
        ("カナダ人のアインシュタイン", "カナダ"),
        ("เมืองหลวงคือกรุงเทพมหานคร", "กรุงเทพ"),
        ("서울은 한국의 수도", "서울"),
        ("수도는 서울입니다.", "서울"),
        ("राजधानी नई दिल्ली है", "नई दिल्ली"),
        ("ভারতের রাজধানী নয়াদিল্লি", "নয়াদিল্লি"),
        ("العاصمة هي القاهرة", "القاهرة"),
        ("يعيش بالقاهرة", "القاهرة"),
        ("وُلِدَ سنة 1923", "ولد"),
        ("кто? Лев Толстой", "Толстой"),
        ("Sao Paulo", "São Paulo"),
        ("Tom—Sawyer", "Tom Sawyer"),
        ("the 42nd", "42nd"),
        ("Camus,1942", "Camus"),
        ("C++ it is", "C++"),
    ],
)
def test_a_word_is_found_in_its_script(text, fact):
    assert found_in(text, fact)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("ボス", "ホス"),  # another letter, not another accent
        ("が", "か"),
        ("アインシュタイン", "イン"),
        ("กรุง", "กรง"),
        ("कमल", "कम"),
        ("किताब", "क"),  # half a character
        ("राजधानी दिल्लीवाला", "दिल्ली"),
        ("서울역", "서울"),
        ("Parisian", "Paris"),
        ("C#", "C++"),
        ("C++", "C"),
    ],
)
def test_a_part_of_a_word_is_not(text, fact):
    assert not found_in(text, fact)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("في عام ١٩٢٣", "1923"),
        ("१९४७ में", "1947"),
        ("ปี ๑๙๒๓", "1923"),
        ("၁၉၂၃", "1923"),
        ("１９２３年", "1923"),
        ("It is 1,042.", "1042"),
        ("1 042", "1042"),
        ("١٬٠٤٢", "1042"),
        ("1042", "1,042"),
        ("It is −42.", "-42"),
        ("It is minus 42", "-42"),
        ("It is 42.50.", "42.5"),
        ("10,5 euro", "10.5"),
        ("42% of", "42%"),
        ("12.05.1923", "1923"),
        ("05/1923", "1923"),
        ("1923–1925", "1925"),
        ("x=42", "42"),
    ],
)
def test_a_number_is_found_by_its_value(text, fact):
    assert found_in(text, fact)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("It is 42.5", "42"),
        ("٤٢٫٥", "42"),
        ("It is -42", "42"),
        ("It is minus 42", "42"),
        ("42", "-42"),
        ("It is 1,042", "42"),
        ("١٬٠٤٢", "42"),
        ("1 042", "42"),
        ("1’042", "42"),
        ("142", "42"),
        ("১৯৪৭", "947"),
        ("42%", "42"),
        ("42:30", "42"),
        ("3/4", "4"),
        ("10^42", "42"),
        ("10⁴²", "1042"),
        ("2,5", "5"),
        ("1.5e42", "42"),
    ],
)
def test_another_number_is_not(text, fact):
    assert not found_in(text, fact)
