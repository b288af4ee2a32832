"""The parts of launch/submit.py."""


class Refusal(Exception):
    """What cannot be queued: one line for a person, and the exit code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
