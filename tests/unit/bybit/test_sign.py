from __future__ import annotations

from libs.bybit.sign import Key, rest_headers, rest_text, signature

KEY = Key("abcd1234", "hush")


def test_the_known_digest_of_hmac_sha256() -> None:
    """RFC 4231, test case 2."""
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature("Jefe", "what do ya want for nothing?") == digest


def test_a_get_signs_its_query_as_sent_and_a_post_its_body() -> None:
    target = "/v5/order/realtime?category=linear&cursor=a%3A1"
    got = rest_headers(KEY, 17, 3000, "GET", target, "")
    assert got["X-BAPI-SIGN"] == signature("hush", rest_text(17, "abcd1234", 3000, "category=linear&cursor=a%3A1"))
    assert "Content-Type" not in got
    posted = rest_headers(KEY, 17, 3000, "POST", "/v5/order/create", '{"a":1}')
    assert posted["X-BAPI-SIGN"] == signature("hush", '17abcd12343000{"a":1}')
    assert posted["Content-Type"] == "application/json"


def test_the_secret_never_shows() -> None:
    assert "hush" not in repr(KEY)
    assert "hush" not in f"{KEY}"
