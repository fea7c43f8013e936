// LuCI's view of what the proxy has done, in stubs of LuCI: what it asks of ubus, and what it shows of the answers.
//   node openwrt/tests/view.mjs VIEW OBJECT METHOD
import assert from 'node:assert';
import { readFileSync } from 'node:fs';

const [ file, object, method ] = process.argv.slice(2);
const source = readFileSync(file, 'utf8');
let answer, polled;

String.prototype.format = function(...values) {
	return this.replace(/%[sd]/g, () => values.shift());
};
const text = node => node === null || node === undefined ? '' : Array.isArray(node) ? node.map(text).join(' ') : String(node);
const given = {
	E: (tag, attributes, children) => ({
		children, replaceChildren(...nodes) { this.children = nodes; }, toString() { return text(this.children); }
	}),
	_: words => words,
	poll: { add: ask => { polled = ask; } },
	rpc: { declare: asked => {
		assert.deepStrictEqual(asked, { object, method, expect: { '': {} } });
		return () => answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
	} },
	view: { extend: members => members }
};
// What LuCI's loader gives a view is what its first lines require, and what all have.
const required = [ ...source.matchAll(/^'require (\w+)';$/gm) ].map(found => found[1]);
const names = [ 'E', '_', ...required ];
const view = new Function(...names, source)(...names.map(name => given[name]));

const silent = 'It does not run, or does not answer.';
answer = { requests: 7, connections: 2, uptime_s: 90000, bytes_sent: 3 << 20, bytes_saved: 1 << 20, bytes_from_mirrors: 2048,
	problems: [ 'The disk is full.' ], archives: [ { name: 'archive.example.org/debian' } ] };
const page = view.render(await view.load());
for (const words of [ '1 days, 1 hours', '7, from 2 connections now', '3.0 MB', '1.0 MB (33%)', '2.0 KB', 'The disk is full.',
	'archive.example.org/debian' ])
	assert(text(page).includes(words), `${words}: ${text(page)}`);
for (answer of [ {}, new Error('no such object') ]) {
	await polled();
	assert(text(page).includes(silent), text(page));
}
console.log('the view shows what it is told');
