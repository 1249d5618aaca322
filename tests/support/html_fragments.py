"""Fragments of HTML of the kinds that real pages contain, in several languages and scripts.

Each template is well-formed XML apart from named entities. {a}, {b} and {c} are phrases.
"""

from __future__ import annotations

PHRASES = {
    "en": ("The mayor opened", "the new bridge", "on Tuesday, June 4"),
    "de": ("Größe &amp; Gewicht", "über 10&nbsp;km", "(siehe oben)"),
    "fr": ("L&rsquo;été dernier", "c&#39;est «&#160;bien&#160;»", "n&deg;&nbsp;5 !"),
    "ar": ("مرحبا بكم", "في المكتبة", "الكتاب ١٢٣."),
    "zh": ("欢迎来到", "北京大学", "图书馆。"),
}
"""Three phrases of a sentence by language."""

TEMPLATES = {
    "news article": [
        "<article><h1>{a} {b}</h1><p class='lead'>{a} <b>{b}</b>, {c}</p></article>",
        '<p>{a} <a href="/x?a=1&amp;b=2" title="{c}">{b}</a> {c}</p>',
        "<figure><img src='a' alt='{b}'/><figcaption>{a} <cite>{b}</cite></figcaption></figure>",
        "<blockquote><p>“{a} <em>{b} <strong>{c}</strong></em>”</p></blockquote>",
        "<p>{a}<sup><a href='#fn1'>[1]</a></sup> {b} <time datetime='2024-06-04'>{c}</time></p>",
    ],
    "product page": [
        "<div class='price'><span>{a}</span> <del>$19.99</del> <ins>$9.99</ins></div>",
        "<ul><li>{a}</li>\n<li><b>{b}:</b> 5&times;7 cm</li><li>{c} &gt; 3 &amp; &lt; 5</li></ul>",
        "<button type='submit'><svg viewBox='0 0 1 1'><path d='M0 0'/></svg> {a}</button>",
        "<p>{a} <span class='notranslate'>ACME&trade;X1</span> {b}</p>",
    ],
    "table": [
        "<table><thead><tr><th>{a}</th><th>{b}</th></tr></thead>"
        "<tbody><tr><td>1,5</td><td><i>{c}</i></td></tr></tbody></table>",
        "<table>\n <caption>{a} <small>{b}</small></caption>\n "
        "<tr><td>{c}<br/>{a}</td></tr>\n</table>",
        "<dl><dt>{a}</dt><dd>{b}, <abbr title='{c}'>{c}</abbr></dd></dl>",
    ],
    "form": [
        "<form><label>{a} <input id='n' value='{b}'/></label><textarea>{c}</textarea></form>",
        "<select><option value='1' selected=''>{a}</option><option>{b}</option></select>",
        "<p>{a} <input type='checkbox' checked=''/> {b} <a href='#'>{c}</a>.</p>",
        "<fieldset><legend>{a}</legend>{b} <em>*</em></fieldset>",
    ],
    "navigation": [
        "<nav><ul><li><a href='/'>{a}</a></li><li><a href='/b'>{b}</a> | </li></ul></nav>",
        "<p><a href='/a'>{a}</a> &raquo; <a href='/b'>{b}</a> &raquo; {c}</p>",
        "<a class='skip' href='#main'><span>{a}</span> <span aria-hidden='true'>→</span></a>",
    ],
    "footer": [
        "<footer><p>&copy; 2024 {a}. <a href='/p'>{b}</a> &middot; {c}</p></footer>",
        "<address>{a}<br/>\n  {b}<br/>\n  <a href='mailto:a@b.org'>a@b.org</a></address>",
        "<p><small>{a} <!-- build 123 --> {b}</small></p>",
    ],
    "email": [
        "<div>{a},<br/><br/>{b} <u>{c}</u>.<br/>--<br/><font color='#888'>{a}</font></div>",
        "<div><p>{a}</p><blockquote type='cite'><div>{b} <i>{c}</i></div></blockquote></div>",
        "<td style='padding:0'><center><a href='http://x.org'><b>{a}</b></a></center></td>",
    ],
    "wiki": [
        "<p><b>{a}</b> (<span lang='el'>λόγος</span>) {b}<sup>[2]</sup> {c}</p>",
        "<p>{a} H<sub>2</sub>O {b} x<sup>2</sup>, <i>{c}</i></p>",
        "<h2><span id='x'>{a}</span><span> [<a href='/edit'>{b}</a>]</span></h2>",
        "<p>{a} <math><mi>x</mi><mo>=</mo><mn>1</mn></math> {b}</p>",
        "<p>{a} <ruby>{b}<rp>(</rp><rt>x</rt><rp>)</rp></ruby> {c}</p>",
    ],
    "questions": [
        "<div><p>{a} <code>x&lt;y</code> {b}?</p><pre><code>if x:\n  y()</code></pre></div>",
        "<p>{a} <kbd>Ctrl</kbd>+<kbd>C</kbd> {b} <samp>ok</samp></p>",
        "<p><strong>{a}:</strong>&nbsp;{b} <a href='/q/1'><em>{c}</em></a></p>",
    ],
    "documentation": [
        "<p>{a} <code>get_item()</code> {b} <var>n</var> {c} <code>None</code>.</p>",
        "<ol><li><p>{a} <code class='x'>pip-install</code></p></li><li>{b}</li></ol>",
        "<h3>{a}<a class='anchor' href='#a'>¶</a></h3><script>if (a &lt; b) c();</script>",
        "<p>{a} <span translate='no'>git-<b>rebase</b></span> {b} <mark>{c}</mark></p>",
        "<details><summary>{a}</summary>{b} <q>{c}</q></details>",
    ],
    "right to left": [
        "<p dir='rtl'>{a} <bdi>{b}</bdi> {c}</p>",
        "<div dir='rtl' lang='ar'><h2>{a}</h2><p>{b}&lrm; <bdo dir='ltr'>ABC</bdo> {c}</p></div>",
    ],
    "spaces": [
        "\n<p>\n  {a}\n  <b>\n    {b}\n  </b>\n  {c}\n</p>\n",
        "<p> {a}<b> {b} </b>{c} </p>",
        "<p><b>{a} </b><i>{b} </i>{c}</p>",
        "<p>\t{a} <b> </b> {b}<i></i>{c}</p>",
        "<p><b><i><u>{a}</u></i></b></p>",
    ],
}
"""Templates by kind of page."""

MALFORMED = [
    "<p>Hello <b>world",
    "<p>Hello <b>big <i>world</b></i>!</p>",
    "5 < 6 & 7 > 2, AT&T; R&D",
    "<a href='x>Hello</a>",
    '<a href="x" "y">Hello</a> you',
    "<p>a <b>b<p>c</b> d",
    "</b></p>Hello</i>",
    "<div <p>Hello</p>",
    "Hello <!-- world",
    "Hello <![CDATA[world]]> you",
    "<![if !IE]>Hello<![endif]>",
    "<!DOCTYPE html><html><head><title>A <b> c</title></head><body>Hello",
    "<?php echo 'x' ?><p>Hello</p>",
    "<ul><li>one<li>two <b>three</ul>",
    "<p translate=no>Hello<p>world</p><p class='x notranslate'>foo",
    "<script>if (a<b) '</p>'",
    "<textarea><b>Hello",
    "Hello</>world <> <",
    "&notit; &copy2 &#1; &#xFFFFFF; &bogus; &amp",
    "<IMG SRC=a.png>Hello<BR>World<P>Foo <B>Bar</b>",
    "<b/>Hello <span/>world",
    "\ufeff<p>Hello\r\nworld</p>\r\n",
    "<p>Hello \u2028 \x0b \x00 world</p>",
    "<svg><text>Hello</text> <p>world",
    "",
    " \n ",
]
"""Fragments with faults that pages contain."""


def well_formed_fragments() -> list[str]:
    """Return each template with the phrases of each language."""
    return [
        template.format(a=a, b=b, c=c)
        for a, b, c in PHRASES.values()
        for templates in TEMPLATES.values()
        for template in templates
    ]
