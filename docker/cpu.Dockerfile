# llmrs-bench on CPUs, with the versions that its tests run with.
# Build:  docker build -f docker/cpu.Dockerfile -t llmrs-bench .
# Run:    docker run --rm --user "$(id -u)" -v "$PWD":/study llmrs-bench run study.toml
FROM python:3.11-slim-bookworm

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

# --build-arg INDEX=URL names another index, such as that of PyTorch's builds for CPUs, which lack two GB of CUDA.
ARG INDEX=""
COPY requirements/plain.txt requirements/
RUN python -m pip install ${INDEX:+--extra-index-url "$INDEX"} -r requirements/plain.txt

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
