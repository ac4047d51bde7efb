import pytest

from wire.errors import EXPLANATIONS, BrokerRefused, Code, Refused, excerpt, field_name


def test_every_code_has_a_sentence_and_an_advice():
    assert set(EXPLANATIONS) == set(Code)
    for explanation in EXPLANATIONS.values():
        assert explanation.sentence.endswith(".")
        assert explanation.advice.endswith(".")


def test_a_refusal_says_code_sentence_finding_advice_and_reference():
    refused = Refused(Code.ENV_AUD, "addressed to ab")
    for part in ("ENV_AUD", EXPLANATIONS[Code.ENV_AUD].sentence, "addressed to ab", refused.ref):
        assert part in str(refused)
    assert (refused.mid, refused.cid, refused.field) == ("", "", None)


@pytest.mark.parametrize(
    "text", ["a\nb", "\x1b[31mred", "\u202egnp.exe", "x" * 10_000, b"\xff\xfe" * 100, None, 10**100]
)
def test_text_of_strangers_is_escaped_and_cut(text):
    shown = excerpt(text)
    assert len(shown) <= 80
    assert shown.replace("…", "").isascii()
    assert shown.isprintable()


def test_a_field_name_is_shown_as_it_stands_only_if_it_looks_like_one():
    assert field_name("wall_s") == "wall_s"
    assert field_name("a\nb") == "'a\\nb'"


def test_a_denial_of_the_broker_names_user_host_and_reason():
    assert str(BrokerRefused("spoke-1", "manyarm", "no access")) == (
        "the broker refused user 'spoke-1' on virtual host 'manyarm': no access"
    )
