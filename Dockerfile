# The broker without what only its development needs. See docs/OPERATING.md, "Docker".
FROM node:22-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Bun is one of the pinned packages; its binary is taken out before those of development go. Not `npm ci`:
# it refuses a lock file without the optional packages of platforms that this image is not for.
RUN npm install && cp "$(readlink -f node_modules/.bin/bun)" /bun && npm prune --omit=dev

FROM debian:bookworm-slim
WORKDIR /app
COPY --from=packages /bun /usr/local/bin/bun
COPY --from=packages /app/node_modules node_modules
COPY package.json ./
COPY schemas schemas
COPY src src
RUN useradd --system --no-create-home warren && mkdir /data && chown warren:warren /data
USER warren
ENV WARREN_HOST=0.0.0.0 WARREN_DATA_DIR=/data WARREN_LOG=json
VOLUME /data
EXPOSE 7070
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s CMD ["bun", "-e", \
  "process.exit((await fetch('http://127.0.0.1:7070/healthz')).ok ? 0 : 1)"]
ENTRYPOINT ["bun", "src/cli/main.ts"]
CMD ["serve"]
