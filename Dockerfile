# medistill for a processor: `docker build -t medistill .` (docs/guide/offline.md has what goes with it).
# Building needs a network; running needs none.

FROM python:3.11-slim AS built
ARG EXTRAS=ocr,dp,dicom,dicomweb
# The index of PyTorch's wheels for processors: with it the pinned torch comes without two gigabytes for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
RUN python -m venv /opt/medistill
COPY constraints.txt pyproject.toml README.md LICENSE ./
# What it depends on changes seldom and is a layer of its own, here and in the image that is made.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*p['dependencies'], *(d for e in '${EXTRAS}'.split(',') if e for d in p['optional-dependencies'][e]), sep='\n')" \
      > needed.txt \
 && /opt/medistill/bin/pip install --no-cache-dir --disable-pip-version-check --extra-index-url "${TORCH_INDEX}" \
      -c constraints.txt -r needed.txt
COPY medistill medistill
COPY cli cli
COPY recipes recipes
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt hatchling \
 && python -m hatchling build -t wheel -d dist

FROM python:3.11-slim
# Nobody in particular, with a home that holds what has to stay: the keys and the ledger of privacy.
RUN useradd --uid 10001 --create-home --home-dir /home/medistill --shell /usr/sbin/nologin medistill \
 && install -d -o medistill -g medistill -m 0700 /cache /out \
 && install -d /data
COPY --from=built /opt/medistill /opt/medistill
RUN --mount=type=bind,from=built,source=/src/dist,target=/dist \
    /opt/medistill/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps /dist/*.whl
# LOGNAME: MONAI asks for the name of the user, and `--user` may name one without.
ENV PATH=/opt/medistill/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    LOGNAME=medistill \
    MEDISTILL_CACHE=/cache \
    MEDISTILL_KEYS=/home/medistill/keys \
    MEDISTILL_LEDGER=/home/medistill/ledger \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /out
VOLUME ["/data", "/out", "/cache", "/home/medistill"]
ENTRYPOINT ["medistill"]
CMD ["--help"]
