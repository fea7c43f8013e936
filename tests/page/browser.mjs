// The page as Chromium shows it: node browser.mjs FOLDER PROGRAM. In FOLDER are the pages that the program's own tests
// have written, and what npm has installed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';

const [folder, program] = process.argv.slice(2).map((word) => path.resolve(word));
const { chromium } = createRequire(`${folder}/`)('playwright-core');
const axe = readFileSync(`${folder}/node_modules/axe-core/axe.min.js`, 'utf8');
const PAGE_LEN_MAX = 30 * 1024;
const LONG = { timeout: 20_000 };

const scratch = mkdtempSync(path.join(tmpdir(), 'apt-p2p-page-'));
const atEnd = [() => rmSync(scratch, { recursive: true, force: true })];

/** A server on loopback; its address. */
async function serve(answer) {
  const server = http.createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd.push(() => server.closeAllConnections(), () => server.close());
  return `127.0.0.1:${server.address().port}`;
}

/** A mirror with one file, of which it sends no more than it is let. */
async function startMirror(content) {
  const waiting = new Set();
  const mirror = { path: `/debian/dists/stable/main/binary-amd64/by-hash/SHA256/${sha256(content)}`, requests: 0 };
  let let_ = 0;
  mirror.letGo = (bytes) => {
    let_ = bytes;
    waiting.forEach((send) => send());
  };
  mirror.address = await serve((request, response) => {
    mirror.requests += 1;
    if (request.url !== mirror.path) return response.writeHead(404).end();
    response.writeHead(200, { 'Content-Length': content.length, 'Last-Modified': 'Sat, 01 Mar 2025 10:00:00 GMT' });
    let sent = 0;
    const send = () => {
      response.write(content.subarray(sent, let_));
      sent = Math.max(sent, let_);
      if (sent >= content.length) {
        response.end();
        waiting.delete(send);
      }
    };
    waiting.add(send);
    send();
  });
  return mirror;
}

const sha256 = (content) => createHash('sha256').update(content).digest('hex');

async function startProxy() {
  const flags = ['--listen', '127.0.0.1:0', '--cache', `${scratch}/cache`, '--share', 'off', '--mdns', 'off',
    '--port-mapping', 'off', '--allow-upstream', '127.0.0.0/8'];
  const child = spawn(program, flags, { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH } });
  atEnd.push(() => child.kill('SIGKILL'));
  let said = '';
  for await (const part of child.stderr) {
    said += part;
    const address = /^listening on (.*)$/m.exec(said);
    if (address) {
      child.stderr.resume();
      return { child, address: address[1] };
    }
  }
  throw new Error(`the proxy does not start: ${said}`);
}

/** Fetches a file through the proxy; a promise of its bytes. */
function download(proxy, url) {
  return new Promise((done, failed) => {
    const [host, port] = proxy.address.split(':');
    http.get({ host, port, path: url }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part)).on('end', () => done(Buffer.concat(parts))).on('error', failed);
    }).on('error', failed);
  });
}

/** Opens a page, and notes what must not happen on it. */
async function open(browser, url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const watched = { page, context, requests: [], wrong: [], loads: 0 };
  page.on('request', (request) => watched.requests.push(request.url()));
  page.on('console', (message) => watched.wrong.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => watched.wrong.push(`error: ${error}`));
  page.on('load', () => { watched.loads += 1; });
  const response = await page.goto(url);
  watched.len = (await response.body()).length;
  const origin = new URL(url).origin;
  watched.check = () => {
    assert.deepEqual(watched.wrong, [], 'nothing is wrong in the browser, no rule of the page was broken');
    const strange = watched.requests.filter((url) => !url.startsWith(origin) && !url.startsWith('data:'));
    assert.deepEqual(strange, [], 'nobody else is asked');
    assert(watched.len <= PAGE_LEN_MAX, `${url} has ${watched.len} bytes`);
  };
  return watched;
}

const VIEWS = [360, 1400].flatMap((width) => ['light', 'dark'].map((colorScheme) => ({ width, colorScheme })));

/** What a screen reader and narrow or dark screens need; a picture of each under `name`. */
async function look(watched, name) {
  const { page } = watched;
  for (const { width, colorScheme } of VIEWS) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
    assert.deepEqual(told, [], `${name} at ${width} px, ${colorScheme}`);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert(over <= 0, `${name} is ${over} px wider than ${width} px`);
    await page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png`, fullPage: true });
  }
}

const value = (page) => page.locator('section progress').first().evaluate((bar) => bar.value);
const rises = (page, least) => page.waitForFunction(
  (least) => (document.querySelector('section progress')?.value ?? 0) >= least, least, LONG);

async function isLive(browser, proxy, mirror, content) {
  const url = `/${mirror.address}${mirror.path}`;
  const live = await open(browser, `http://${proxy.address}/`);
  const { page } = live;
  await page.getByText('Nothing at this moment').waitFor(LONG);
  await page.evaluate(() => { window.isTheSame = true; });
  await page.getByText('To undo it').waitFor(LONG);
  mirror.letGo(3 << 20);
  const coming = download(proxy, url);
  await rises(page, 2 << 20);
  await page.getByText(sha256(content)).first().waitFor(LONG);
  await look(live, 'live');

  // Without scripts it shows the same, and more when it is loaded again.
  const still = await open(browser, `http://${proxy.address}/`, { javaScriptEnabled: false });
  assert.equal(await still.page.locator('noscript span').isVisible(), true);
  const before = Number(await still.page.locator('section progress').getAttribute('value'));
  assert(before >= 2 << 20 && before <= 3 << 20, `${before}`);
  mirror.letGo(8 << 20);
  await rises(page, 7 << 20);
  await still.page.reload();
  assert(Number(await still.page.locator('section progress').getAttribute('value')) >= 7 << 20);
  assert.equal(still.requests.length, 2, 'one request has all of it');
  still.check();
  await still.context.close();

  mirror.letGo(content.length);
  assert.equal(sha256(await coming), sha256(content));
  await page.getByText('Nothing at this moment').waitFor(LONG);
  assert.equal(sha256(await download(proxy, url)), sha256(content));
  await page.getByText('50%', { exact: true }).waitFor(LONG);
  assert.equal(mirror.requests, 1);
  assert(await page.evaluate(() => window.isTheSame) && live.loads === 1, 'it was never loaded again');

  // In a tab that nobody sees it asks for nothing, while another goes on; and at once when it is seen again.
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  const other = await open(browser, `http://${proxy.address}/`);
  const asked = live.requests.length;
  for (let n = 0; n < 2; n += 1) await other.page.waitForRequest(() => true, LONG);
  assert.equal(live.requests.length, asked, 'a hidden page asks for nothing');
  await Promise.all([page.waitForRequest(() => true, LONG), hide(false)]);
  other.check();
  await other.context.close();
  live.check();

  proxy.child.kill('SIGTERM');
  await page.getByText('The proxy does not answer').waitFor(LONG);
  await live.context.close();
}

/** The pages that the program's tests have written, with the rules that it sends along. */
async function isShown(browser) {
  const policy = readFileSync(`${folder}/policy`, 'utf8');
  const address = await serve((request, response) => {
    const name = request.url.slice(1) || request.headers.referer;
    const headers = { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy };
    response.writeHead(200, headers).end(readFileSync(`${folder}/${name}.html`));
  });
  for (const [name, ...views] of [['usual', false, true], ['worst', true], ['fresh', false]]) {
    const shown = await open(browser, `http://${address}/${name}`);
    // It asks for the page at `/`, which is not this one.
    await shown.page.evaluate(() => { Object.defineProperty(document, 'hidden', { value: true }); });
    for (const isOpen of views) {
      await shown.page.evaluate((isOpen) => {
        document.querySelectorAll('details').forEach((details) => { details.open = isOpen; });
      }, isOpen);
      await look(shown, isOpen ? `${name}-open` : name);
    }
    shown.check();
    await shown.context.close();
  }
}

try {
  const content = Buffer.alloc(12 << 20, 'apt-p2p ');
  const [mirror, proxy, browser] = await Promise.all([startMirror(content), startProxy(), chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  })]);
  atEnd.push(() => browser.close());
  await isShown(browser);
  await isLive(browser, proxy, mirror, content);
  console.log('the page is as it should be');
} finally {
  for (const end of atEnd.reverse()) await end();
}
