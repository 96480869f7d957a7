"""Tables in HTML and LaTeX: groups, marks and widths, by hand."""

import re

import pandas as pd
from pandas.io.formats.style import Styler

from xmodal_suite.render import as_html, as_latex, flat

HEADS = [("", "N"), ("", "method"), ("a→b", "R@1"), ("a→b", "R@5"), ("b→a", "R@1")]
METHODS = pd.DataFrame(
    [
        ["16", "published", "9.9", "99.0", "30.0"],
        ["16", "ours", "8.0 [7.0, 9.0]", "10.0 ± 1.0", "20.0"],
        ["16", "<i>_theirs", "7.9 [7.0, 9.0]", "9.0 ± 1.0", "20.0"],
        ["64", "ours", "–", "1.0 ± 0.5", "-1.0"],
    ],
    columns=pd.MultiIndex.from_tuples(HEADS),
)
METHODS.attrs["best"] = True


def html_cells(styler: Styler) -> list[list[str]]:
    """Return the cells of each row of an HTML table's body."""
    rows = styler.to_html().split("<tbody>")[1].split("</tr>")[:-1]
    return [re.findall(r"<td [^>]*>(.*)</td>", row) for row in rows]


def latex_rows(latex: str) -> list[str]:
    """Return the rows of a LaTeX table's body."""
    body = latex.split("\\midrule\n")[-1].split("\\bottomrule")[0].split("\\end{longtable}")[0]
    return body.removesuffix("\n").split("\n")


def test_html_shows_groups_once_and_marks_in_the_cells():
    assert html_cells(as_html(METHODS, "c", "t")) == [
        ["16", *(f"<em>{text}</em>" for text in ("published", "9.9", "99.0", "30.0"))],
        [
            *("", "ours", "<strong>8.0</strong><br><small>[7.0, 9.0]</small>"),
            *("<strong>10.0</strong><br><small>± 1.0</small>", "<strong>20.0</strong>"),
        ],
        [
            *("", "&lt;i&gt;_theirs", "7.9<br><small>[7.0, 9.0]</small>"),
            *("9.0<br><small>± 1.0</small>", "<strong>20.0</strong>"),
        ],
        [
            "64",
            "ours",
            "–",
            "<strong>1.0</strong><br><small>± 0.5</small>",
            "<strong>−1.0</strong>",
        ],
    ]


def test_html_has_grouped_heads_a_caption_and_no_index():
    page = as_html(METHODS.rename(columns={"a→b": "<a>"}), "R@1 < R@5", "t").to_html()
    assert page.count("<th ") == 3 + 5 and 'colspan="2">&lt;a&gt;</th>' in page
    assert "<caption>R@1 &lt; R@5</caption>" in page
    assert '<table id="T_t">' in page and " id=" not in page.split("<caption>")[1]
    assert [f".col{i} {{\n  text-align: left" in page for i in range(5)] == [
        False,
        True,
        *[False] * 3,
    ]


def test_a_table_without_html_is_its_text():
    frame = METHODS[[("", "N"), ("a→b", "R@1")]][2:]
    assert repr(as_html(frame.reset_index(drop=True), "c", "t")).splitlines() == [
        " N        a→b R@1",
        "16 7.9 [7.0, 9.0]",
        "64              –",
    ]


def test_only_a_layout_that_asks_has_its_best_values_bold():
    plain = METHODS.copy()
    plain.attrs = {}
    assert "<strong>" not in as_html(plain, "c", "t").to_html()
    assert "\\textbf" not in as_latex(plain, "c", "t")


def test_a_first_column_of_measured_numbers_or_without_repetition_makes_no_groups():
    for first, measured in ((["1", "1", "2"], True), (["a", "b", "a"], False)):
        frame = pd.DataFrame({"x": first, "y": "1"})
        frame.attrs["measured"] = measured
        assert [row[0] for row in html_cells(as_html(frame, "", "t"))] == first
        assert "\\addlinespace" not in as_latex(frame, "c", "t")


def test_latex_sets_the_same_table_by_hand():
    latex = as_latex(METHODS, "A_b", "tab:t")
    assert latex.startswith("% Needs \\usepackage{array, booktabs, longtable} and ")
    assert "\\caption{A\\_b}\\label{tab:t}" in latex
    head, body = latex.split("\\toprule\n")[1].split("\\midrule\n")
    assert head.splitlines() == [
        "\\multicolumn{2}{c}{} & \\multicolumn{2}{c}{a$\\rightarrow$b} & "
        "\\multicolumn{1}{c}{b$\\rightarrow$a} \\\\",
        "\\cmidrule(lr){3-4}\\cmidrule(lr){5-5}",
        "N & method & R@1 & R@5 & R@1 \\\\",
    ]
    assert body.splitlines()[:5] == [
        "16 & \\emph{published} & \\emph{9.9} & \\emph{99.0} & \\emph{30.0} \\\\",
        " & ours & \\xmodalbelow{\\textbf{8.0}}{[7.0, 9.0]} & "
        "\\xmodalbelow{\\textbf{10.0}}{$\\pm$ 1.0} & \\textbf{20.0} \\\\",
        " & \\textless{}i\\textgreater{}\\_theirs & \\xmodalbelow{7.9}{[7.0, 9.0]} & "
        "\\xmodalbelow{9.0}{$\\pm$ 1.0} & \\textbf{20.0} \\\\",
        "\\addlinespace",
        "64 & ours & -- & \\xmodalbelow{\\textbf{1.0}}{$\\pm$ 0.5} & \\textbf{$-$1.0} \\\\",
    ]


def test_text_that_a_group_shares_stands_above_it_where_room_is_short():
    words = "a sentence of some length, which is not to be broken in a column "
    frame = pd.DataFrame(
        {"kind": ["a", "a", "b"], "n": "1", "why": words, "what": words + "either"}
    )
    rows = latex_rows(as_latex(frame, "c", "t"))
    assert rows[:3] == [rows[0], "1 \\\\", "1 \\\\"] and rows[3] == "\\addlinespace"
    assert f"{{kind: a $\\cdot$ why: {words} $\\cdot$ what: {words}either}} \\\\*" in rows[0]
    short = latex_rows(as_latex(frame[["kind", "n"]], "c", "t"))
    assert short == ["a & 1 \\\\", " & 1 \\\\", "\\addlinespace", "b & 1 \\\\"]


def test_the_widest_text_is_set_in_paragraphs():
    frame = pd.DataFrame({"id": ["x"], "text": "many words " * 20, "also": "words again " * 9})
    latex = as_latex(frame, "c", "t")
    found = re.search(
        r"tabular}{@{}l"
        r">{\\raggedright\\arraybackslash}p{(\d+)pt}>{\\raggedright\\arraybackslash}p{(\d+)pt}@{}}",
        latex,
    )
    assert found and 300 < int(found[1]) + int(found[2]) < 345
    assert abs(int(found[1]) - int(found[2])) <= 1


def test_heads_are_broken_between_words_alone():
    frame = pd.DataFrame({"misses with a label": ["12.0"], "precision@10": ["1.0"]})
    head = "\\shortstack[r]{misses\\\\with a\\\\label} & precision@10 \\\\"
    assert head in as_latex(frame, "c", "t")


def test_a_table_of_many_lines_goes_over_pages_and_repeats_its_head():
    frame = pd.DataFrame({"seed": map(str, range(40)), "recall": "9.0"})
    assert "longtable}{" not in as_latex(frame, "c", "t")
    deep = frame[:21].assign(recall="9.0 [8.0, 10.0]")  # two lines a row
    for long in (pd.concat([frame, frame[:1]], ignore_index=True), deep):
        latex = as_latex(long, "c", "t")
        assert "\\begin{longtable}{@{}rr@{}}\n\\caption{c}\\label{t}\\\\\n" in latex
        assert latex.count("seed & recall \\\\") == 2


def test_no_cell_is_taken_for_an_argument_of_the_line_before():
    frame = pd.DataFrame({"id": ["[2pt]", "*", "a"]})
    assert latex_rows(as_latex(frame, "c", "t")) == ["{}[2pt] \\\\", "{}* \\\\", "a \\\\"]


def test_an_empty_table_is_a_head():
    frame = pd.DataFrame({"a": [], "b": []}, dtype=object)
    assert latex_rows(as_latex(frame, "c", "t")) == [""]
    assert html_cells(as_html(frame, "c", "t")) == []


def test_heads_in_one_line_put_a_condition_last():
    heads = pd.MultiIndex.from_tuples([("", "seed"), ("N = 9", "R@1"), ("a→b", "R@1")])
    frame = pd.DataFrame([[1, 2, 3]], columns=heads)
    assert list(flat(frame)) == ["seed", "R@1, N = 9", "a→b R@1"]
    assert list(flat(flat(frame))) == ["seed", "R@1, N = 9", "a→b R@1"]
