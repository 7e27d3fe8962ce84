"""What tests of events share: somebody who is told."""


class Told:
    """Stands in for Events."""

    def __init__(self):
        self.events, self.numbers, self.logged = [], [], []

    def emit(self, kind, data, *, number="", logged=()):
        self.events.append((kind, data))
        self.numbers.append(number)
        self.logged.append(logged)

    def trouble(self, kind, detail):
        self.events.append((kind, detail))
