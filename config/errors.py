"""What can be wrong with settings: SettingsInvalid carries every fault found, so that one run shows them all."""


class SettingsInvalid(Exception):
    """One or more settings cannot be used; `faults` has a sentence each: where, what was found, what was expected."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))
