# The broker without what only its development needs. See docs/OPERATING.md, "Docker".
FROM node:22-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM oven/bun:1.4.5-slim
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json ./
COPY schemas schemas
COPY src src
RUN mkdir /data && chown bun:bun /data
USER bun
ENV WARREN_HOST=0.0.0.0 WARREN_DATA_DIR=/data WARREN_LOG=json
VOLUME /data
EXPOSE 7070
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s CMD ["bun", "-e", \
  "process.exit((await fetch('http://127.0.0.1:7070/healthz')).ok ? 0 : 1)"]
ENTRYPOINT ["bun", "src/cli/main.ts"]
CMD ["serve"]
