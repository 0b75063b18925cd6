"""The orders in which object stores list keys."""

from dataclasses import dataclass


def by_bytes(key: str) -> str:
    """What keys are sorted by where a store lists them by their bytes, as AWS does."""
    return key


def by_folder(key: str) -> str:
    """And where it lists folder by folder, as SeaweedFS does: all of ``a/`` before ``a-b``."""
    return key.replace("/", "\1")


@dataclass
class Order:
    """In which of the two orders a store lists keys."""

    last: str = ""
    is_by_bytes: bool = True
    is_by_folder: bool = True

    def has_next(self, key: str, *, may_be_folder: bool) -> bool:
        """Whether `key` may follow the last one in at least one order. That of a folder came without its slash."""
        last = self.last
        if key <= last and may_be_folder and f"{key}/" > last:
            key += "/"
        self.is_by_bytes = self.is_by_bytes and key > last
        self.is_by_folder = self.is_by_folder and by_folder(key) > by_folder(last)
        self.last = key
        return self.is_by_bytes or self.is_by_folder
