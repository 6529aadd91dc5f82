"""The one error of our own: a missing or unfit external tool."""

__all__ = ["ToolError"]


class ToolError(RuntimeError):
    """An external tool is missing, too old, or failed.

    Parameters
    ----------
    tool: name of the tool, as a user would type it.
    problem: what went wrong, such as ``"not found"`` or ``"version 4.2 found, 5.006 needed"``.
    remedy: how to get it, as one command or sentence.
    """

    def __init__(self, tool: str, problem: str, remedy: str):
        super().__init__(f"{tool}: {problem}; {remedy}")
        self.tool = tool
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.tool, self.problem, self.remedy)
