"""HTML pages for people: what a browser is shown, and what its forms do.

How a page comes to be, and where a new one plugs in:

    pages/NOUN.py            handlers: `pages = Pages()`, `@pages.get("/nouns/{noun}")`, `@pages.post(…)`; each is given a `Call`
    pages/__init__.py        the list of those modules; their order is the order in which routes are tried
    templates/NOUN/PAGE.html Jinja2; extends "base.html" (blocks: title, crumbs, main, head), macros in "macros.html"
    static/NAME.EXT          served as /static/NAME.HASH.EXT; a template writes {{ static("NAME.EXT") }}
    rooms.py                 what handlers may ask; `app` fills it

A handler reads the call, asks one room with `call.actor`, and answers `call.page("nouns/page.html", nouns=nouns)`. In a route, `{noun}` is
one component of the path and `{name:path}` one or more; `call.parameters` has them decoded, `call.query` the query, `call.form` a form's
fields (of POST alone, read and checked for the session's CSRF token before the handler runs: each form holds {{ csrf_field }}).

What changed something answers `call.redirect("/nouns/it", "What was done.")`, which shows the sentence on the next page once. What the
person can mend (`call.MISTAKES`) is caught and shown in the form again by `call.again("nouns/page.html", error, …)`; all else is raised,
and becomes a page by the table in `errors.py`. Lists ask rooms with `call.paging()` and hand `call.pager(total)` to the macro `pager`;
who asks for a page after the last one comes to that.

Every template has: viewer (an Actor), viewer_name (None for nobody), is_admin, host, base_url, path, csrf_field, csrf_token, now, flash,
static(…), and the filters `size`, `age`, `moment`, `count`,
`number`, `short`. Pages carry no script or style of their own: the policy forbids it.
"""
