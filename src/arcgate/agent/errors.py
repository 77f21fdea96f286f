"""Errors of the `azcmagent` command: code AZCMnnnn, of which nnnn is the process's exit code too.

The numbers and their meanings are those of the original's command, so that scripts around it keep working.
"""

from arcgate.core.errors import ArcgateError, HopError, InputError

TITLES: dict[int, str] = {
    1: "Unknown Error",
    2: "Internal Error",
    3: "Not Supported",
    4: "Arc Proxy Not Running",
    5: "No File Logger",
    6: "Initialization Failed",
    11: "Cancelled",
    12: "Invalid Access Token",
    16: "Missing Required Parameter",
    18: "Administrator Rights Needed",
    19: "Configuration File Not Found",
    20: "Unknown Region",
    23: "Invalid Argument",
    26: "Network Error",
    27: "Conflicting Configuration",
    28: "TPM Not Available",
    41: "Failed to Get Token",
    42: "Failed to Create Resource",
    43: "Failed to Delete Resource",
    44: "Resource Already Exists",
    45: "Key of Existing Resource Differs",
    61: "Service Communication Failed",
    62: "Connect Failed",
    63: "Disconnect Failed",
    64: "Service Unreachable",
    65: "Machine Metadata Failed",
    66: "Agent Status Failed",
    67: "Already Connected",
    68: "Subscription Not Found",
    69: "Local Configuration Update Failed",
    70: "Local Configuration Failed",
    72: "Extension Tool Failed",
    73: "Partner Configuration Failed",
    74: "Adding Extensions Failed",
    75: "Cloud Configuration Failed",
    76: "TPM Connect Failed",
    81: "Machine Certificate Not Issued",
    82: "Machine Certificate for TPM Not Issued",
    83: "Credential Registration Failed",
    101: "Command Failed",
    102: "Resource Name Invalid",
    103: "Machine Key Failed",
    104: "Machine Key Unreadable",
    105: "Signing Failed",
    106: "Parameter File Not Saved",
    107: "Certificate Unreadable",
    108: "TPM Keys Failed",
}


class AzcmError(ArcgateError):
    """An error that ends `azcmagent`; `number` is a key of TITLES and the exit code."""

    def __init__(self, number: int, sentence: str, *, cause: str = "", remedy: str = "") -> None:
        super().__init__(f"AZCM{number:04}", sentence, cause=cause, remedy=remedy)
        self.number = number

    @property
    def title(self) -> str:
        """The short title that stands behind the code."""
        return TITLES[self.number]

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        return self.number

    def lines(self) -> list[str]:
        """Return what is printed: code and title, sentence with cause, remedy."""
        shown = [f"Exit Code: {self.code}: {self.title}", f"Error: {self.sentence}"]
        if self.cause:
            shown.append(f"Cause: {self.cause}")
        if self.remedy:
            shown.append(f"Remedy: {self.remedy}")
        return [" ".join(line.split()) for line in shown]


def as_azcm(error: ArcgateError, number: int | None = None) -> AzcmError:
    """Return the error as an AzcmError: of the given number, or of the one that its kind suggests."""
    if isinstance(error, AzcmError):
        return error
    if number is None:
        number = 26 if isinstance(error, HopError) else 23 if isinstance(error, InputError) else 70
    return AzcmError(number, error.sentence, cause=error.cause, remedy=error.remedy)
