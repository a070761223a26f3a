/** The stylesheet of the API reference, for light and dark and for a phone's width. */
export const CSS = `
:root {
  color-scheme: light dark; --text: light-dark(#1c2024, #e6e8ea); --dim: light-dark(#596068, #a3abb3);
  --line: light-dark(#dfe3e6, #31373d); --panel: light-dark(#f6f7f8, #1b1f23);
  --page: light-dark(#fff, #131619); --link: light-dark(#0b5cad, #7cb8f2);
  --get: light-dark(#0b6b3a, #6fd19c); --post: light-dark(#8a3b00, #f0ac7a)
}
* { box-sizing: border-box }
html { scroll-padding-top: 1rem }
body {
  margin: 0; display: grid; grid-template-columns: 19rem minmax(0, 1fr); background: var(--page);
  color: var(--text); font: 1rem/1.55 system-ui, sans-serif
}
a { color: var(--link); text-underline-offset: .15em }
a:focus-visible, summary:focus-visible, pre:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
code, pre { font-family: ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace; font-size: .9em }
nav {
  position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.5rem 1rem;
  border-right: 1px solid var(--line); background: var(--panel); font-size: .875rem
}
nav p { margin: 1.2rem 0 .2rem; color: var(--dim); font-weight: 600 }
nav .name { margin-top: 0; font-size: 1rem }
nav .name a { color: var(--text); text-decoration: none }
nav .name span { font-weight: 400 }
nav ul { margin: 0; padding: 0; list-style: none }
nav li a { display: block; padding: .15rem 0; text-decoration: none }
nav li a:hover { text-decoration: underline }
main { max-width: 62rem; padding: 2rem clamp(1rem, 4vw, 3rem) 6rem }
h1 { margin: 0; font-size: 2rem; line-height: 1.2 }
h2 { margin: 0 0 .5rem; font-size: 1.4rem; line-height: 1.3 }
h3 { margin: 1.8rem 0 .4rem; font-size: 1.05rem }
.lead { margin-top: .3rem; color: var(--dim); font-size: 1.15rem }
main > section { margin-top: 3rem; padding-top: 2rem; border-top: 1px solid var(--line) }
.route { margin: 0 0 .8rem; font-size: 1.05rem; overflow-wrap: anywhere }
b.get, b.post, b.ok {
  font-size: .8em; font-weight: 700; letter-spacing: .03em; text-transform: uppercase; color: var(--get)
}
b.post { color: var(--post) }
.is { margin: .3rem 0 }
.type { color: var(--dim); overflow-wrap: anywhere }
.bound { color: var(--dim); font-size: .9em; font-style: italic; overflow-wrap: anywhere }
em { color: var(--post); font-style: normal; font-size: .85em }
.members { margin: .2rem 0; padding-left: 1rem; list-style: none; border-left: 1px solid var(--line) }
.members li { padding: .12rem 0 }
summary { cursor: pointer }
details details, .members details { margin: 0 }
.example { margin: .5rem 0 }
pre {
  margin: .4rem 0; padding: .8rem 1rem; max-height: 26rem; overflow: auto; border: 1px solid var(--line);
  border-radius: .4rem; background: var(--panel); line-height: 1.45
}
.scroll { overflow-x: auto }
table { width: 100%; border-collapse: collapse; font-size: .95rem }
th, td { padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { color: var(--dim); font-weight: 600 }
dt { margin-top: .8rem }
dd { margin: .1rem 0 0 1rem }
@media (max-width: 56rem) {
  body { display: block }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line) }
}
`
