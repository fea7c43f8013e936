// The page asks for itself again and takes over what has changed, for as long as somebody looks at it.
(() => {
const state = document.getElementById('state');
let timer, pause = 2000;
function take(old, now) {
if (old.nodeType != now.nodeType || old.nodeName != now.nodeName) return old.replaceWith(now);
if (old.nodeType != 1) { if (old.data != now.data) old.data = now.data; return; }
for (const { name, value } of now.attributes) if (old.getAttribute(name) != value) old.setAttribute(name, value);
for (const { name } of [...old.attributes]) if (name != 'open' && !now.hasAttribute(name)) old.removeAttribute(name);
const former = [...old.childNodes], next = [...now.childNodes];
former.slice(next.length).forEach(node => node.remove());
next.forEach((node, at) => at < former.length ? take(former[at], node) : old.append(node));
}
async function look() {
clearTimeout(timer);
if (document.hidden) return;
try {
const answer = await fetch('/', { headers: { Accept: 'text/html' }, cache: 'no-store' });
if (!answer.ok) throw answer.status;
const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
for (const old of document.querySelectorAll('header,main')) take(old, page.querySelector(old.localName));
pause = 2000;
} catch {
state.className = 'state alarm';
state.textContent = 'The proxy does not answer; what stands here is old';
pause = Math.min(2 * pause, 30000);
}
timer = setTimeout(look, pause);
}
document.addEventListener('visibilitychange', look);
timer = setTimeout(look, pause);
})();
