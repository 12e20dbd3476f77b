# syntax=docker/dockerfile:1
# Two images from one build: `--target cutover` (the service) and `--target cutover-sim` (the pocket region).

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
# The query macros read .sqlx (.cargo/config.toml says so): no database is needed to build.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked --workspace --bins && \
    install -D target/release/cutover target/release/cutover-sim -t /out && \
    install -d -o 65532 -g 65532 /out/state

# glibc and CA certificates, no shell and no package manager; user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot AS cutover-sim
COPY --from=build /out/cutover-sim /usr/local/bin/cutover-sim
EXPOSE 4566
ENTRYPOINT ["/usr/local/bin/cutover-sim"]
CMD ["--listen", "0.0.0.0:4566"]

# The default target: the last one. No Postgres is in it: set CUTOVER__DATABASE__URL.
FROM gcr.io/distroless/cc-debian12:nonroot AS cutover
COPY --from=build /out/cutover /usr/local/bin/cutover
COPY --from=build --chown=65532:65532 /out/state /var/lib/cutover
ENV CUTOVER__LISTEN=0.0.0.0:8080 CUTOVER__STATE_DIR=/var/lib/cutover
VOLUME /var/lib/cutover
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/cutover"]
CMD ["serve"]
