from tests.sweep.stub import stubs

__all__ = ["stubs"]
