"""The configuration: Python's own values that know where they stand, so that a mistake has its place."""

_REQUIRED = object()
_KINDS = {type(None): "nothing", bool: "true or false", int: "a number", float: "a number"}


class Mistake(Exception):
    """Something is wrong with the configuration at a place (a JSON Pointer; empty: the whole of it)."""

    def __init__(self, message, at=""):
        super().__init__(message)
        self.message, self.at = message, at


class Text(str):
    """Text of the configuration. `at` is its place."""

    __slots__ = ("at",)


class Config(dict):
    """A mapping of the configuration. A key that nobody looks at is a mistake of whoever wrote it: they are told, with the nearest one
    that there is. So look at all of them in `open`, also at those that matter only sometimes."""

    __slots__ = ("at", "_seen")

    def __init__(self, values=(), at=""):
        super().__init__()
        self.at, self._seen = at, set()
        for key, value in dict(values).items():
            super().__setitem__(key, wrapped(value, self.place(key)))

    def place(self, key):
        """Where a key stands, as a JSON Pointer."""
        return self.at + pointer(key)

    def __getitem__(self, key):
        self._seen.add(key)
        if key not in self.keys():
            raise Mistake(f"`{key}` is missing", self.at)
        return super().__getitem__(key)

    def __contains__(self, key):
        self._seen.add(key)
        return super().__contains__(key)

    def get(self, key, default=None):
        self._seen.add(key)
        return super().get(key, default)

    def __iter__(self):
        self._seen.update(self.keys())
        return super().__iter__()

    def items(self):
        """All keys and values, for a mapping whose keys the user chooses."""
        self._seen.update(self.keys())
        return super().items()

    def values(self):
        """All values, for a mapping whose keys the user chooses."""
        self._seen.update(self.keys())
        return super().values()

    def _typed(self, key, default, types, words):
        value = self.get(key, _REQUIRED)
        if value is _REQUIRED:
            if default is _REQUIRED:
                raise Mistake(f"`{key}` is missing", self.at)
            return default
        if not isinstance(value, types) or isinstance(value, bool) and types is not bool:
            raise Mistake(f"write {words} here, not {kind_of(value)}", self.place(key))
        return value

    def text(self, key, default=_REQUIRED):
        """Text."""
        return self._typed(key, default, str, "text")

    def flag(self, key, default=_REQUIRED):
        """True or false."""
        return self._typed(key, default, bool, "true or false")

    def integer(self, key, default=_REQUIRED):
        """An integer."""
        return self._typed(key, default, int, "an integer")

    def mapping(self, key, default=_REQUIRED):
        """A mapping: a `Config` too."""
        return self._typed(key, default, Config, "a mapping")

    def texts(self, key, default=_REQUIRED):
        """A list of text."""
        items = self._typed(key, default, list, "a list of text")
        for place, item in enumerate(items or ()):
            if not isinstance(item, str):
                raise Mistake(f"write text here, not {kind_of(item)}", f"{self.place(key)}/{place}")
        return items

    def word(self, key, words, default=_REQUIRED):
        """One of a few words."""
        word = self.text(key, default)
        if isinstance(word, Text) and word not in words:
            raise Mistake(unknown(word, words), self.place(key))
        return word

    def unseen(self):
        """The mistakes that are left: keys that nobody looked at."""
        known = sorted(self._seen)
        for key, value in dict.items(self):
            if key not in self._seen:
                yield Mistake(f"unknown key {unknown(key, known)}", self.place(key))
            else:
                yield from unseen(value)


def unseen(value):
    if isinstance(value, Config):
        # One that nobody looked into may be meant as a whole.
        if value._seen:
            yield from value.unseen()
    elif isinstance(value, list):
        for item in value:
            yield from unseen(item)


def wrapped(value, at):
    if isinstance(value, str):
        text = Text(value)
        text.at = at
        return text
    if isinstance(value, dict):
        return Config(value, at)
    if isinstance(value, list):
        return [wrapped(item, f"{at}/{place}") for place, item in enumerate(value)]
    return value


def pointer(*keys):
    """A JSON Pointer to a key below keys: `pointer("columns", "a/b")` is `/columns/a~1b`."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def kind_of(value):
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return "a mapping"
    return _KINDS.get(type(value), "a list")


def unknown(word, words):
    hint = did_you_mean(word, words)
    return f"`{word}`; {hint + ' ' if hint else ''}allowed: {', '.join(words)}"


def did_you_mean(text, candidates):
    """`did you mean X?` for the nearest of the candidates, or nothing when none is near."""
    near = [(_distance(text, candidate), candidate) for candidate in candidates]
    near = [(distance, candidate) for distance, candidate in near if distance <= 1 + len(candidate) // 4]
    return f"did you mean `{min(near)[1]}`?" if near else ""


def _distance(a, b):
    """Letters that were left out, added, mistaken, or swapped with their neighbour."""
    before, row = [], list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, above, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
