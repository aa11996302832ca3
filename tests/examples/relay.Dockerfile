FROM python:3.13-slim
COPY . /src
RUN pip install --no-cache-dir '/src[relay]' && useradd --system relay
USER relay
ENV QEMU_RELAY_HOST=0.0.0.0
EXPOSE 8000
ENTRYPOINT ["qemu", "relay"]
