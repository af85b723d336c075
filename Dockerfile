# One image; the command chooses what runs: the gateway (default) or `worker`. Redis and PostgreSQL are elsewhere.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/quotagate \
 && /opt/quotagate/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE config.toml ./
COPY lua lua
COPY gateway gateway
COPY worker worker
RUN /opt/quotagate/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /var/lib/quotagate quotagate
COPY --from=build /opt/quotagate /opt/quotagate
COPY config.toml /etc/quotagate/config.toml
ENV PATH=/opt/quotagate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    QUOTAGATE_CONFIG=/etc/quotagate/config.toml \
    QUOTAGATE_DATA=/var/lib/quotagate
USER quotagate
VOLUME /var/lib/quotagate
EXPOSE 8000
ENTRYPOINT ["quotagate"]
CMD ["serve", "--host", "0.0.0.0"]
