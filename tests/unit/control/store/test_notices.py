import uuid

from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.store.notices import LARGEST_NOTICE, notice_of

SENDER = uuid.UUID(int=7).hex


def test_a_notice_names_its_sender_and_the_topics() -> None:
    assert notice_of(SENDER, {"gateway:b", "entries"}) == f"{SENDER} entries gateway:b"


@given(st.sets(st.text(max_size=700), max_size=20) | st.sets(st.integers().map("machine:{:036}".format), max_size=300))
def test_what_does_not_fit_is_told_as_everything(topics: set[str]) -> None:
    text = notice_of(SENDER, topics)
    assert len(text.encode()) <= LARGEST_NOTICE
    assert text == f"{SENDER} *" or set(text.split(" ")[1:]) == topics
