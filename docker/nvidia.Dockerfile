# llmrs-bench on NVIDIA GPUs, with vLLM, with the versions that its tests run with.
# Build:  docker build -f docker/nvidia.Dockerfile -t llmrs-bench:nvidia .
# Run:    docker run --rm --gpus all --ipc host --user "$(id -u)" -v "$PWD":/study llmrs-bench:nvidia run study.toml
# The wheels bring CUDA; the host brings the driver and the NVIDIA container toolkit.
FROM python:3.11-slim-bookworm

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

# Kernels are compiled when a model is loaded. Debian keeps no older versions that could be named here.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*

COPY requirements/vllm-gpu.txt requirements/
RUN python -m pip install -r requirements/vllm-gpu.txt

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip install --no-deps --no-build-isolation .

# Artifacts are below /study/bench, on the volume; models of the hub below /study/models.
RUN useradd --create-home --uid 1000 bench && mkdir /study && chown bench /study
USER 1000
ENV LLMRS_BENCH_HOME=/study/bench HF_HOME=/study/models
WORKDIR /study
ENTRYPOINT ["llmrs-bench"]
CMD ["--help"]
