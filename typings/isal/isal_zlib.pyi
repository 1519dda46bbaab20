# isal's own stub gives `error` as an instance, which no checker lets anyone catch; this is what is used of it.
class error(Exception): ...  # noqa: N801, N818 - the name in the package

class Decompress:
    unused_data: bytes
    unconsumed_tail: bytes
    eof: bool
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...

def decompressobj(wbits: int = ...) -> Decompress: ...
