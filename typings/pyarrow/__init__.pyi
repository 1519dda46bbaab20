# pyarrow ships no types and makes many functions at import, so it is untyped here: no checker can see them.
from typing import Any

def __getattr__(name: str) -> Any: ...
