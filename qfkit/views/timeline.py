"""placeholder"""


class Timeline:
    """placeholder"""

    def __init__(self, *args: object) -> None: ...
