"""The demonstration's repository and tasks: a small package with three real bugs and the tests that show them."""

from collections.abc import Mapping
from typing import Final

FILES: Final[Mapping[str, str]] = {
    "README.md": "# shop\n\nA small package with three bugs. Run its tests with `python3 -m unittest`.\n",
    ".gitignore": "__pycache__/\n",
    "shop/__init__.py": '"""A small shop."""\n',
    "shop/basket.py": '''"""What a customer wants to buy."""


def total(prices, discount_percent=0):
    """Return the sum of prices after the discount."""
    return sum(prices) * (100 + discount_percent) / 100
''',
    "shop/stock.py": '''"""What the shop has."""


class Stock:
    """Counts by article."""

    def __init__(self, counts={}):
        self._counts = counts

    def add(self, article, count):
        """Take count more of an article in."""
        self._counts[article] = self._counts.get(article, 0) + count

    def count(self, article):
        """Return how many there are."""
        return self._counts.get(article, 0)
''',
    "shop/text.py": '''"""Words for the screen."""


def plural(count, word):
    """Return the count and the word in its right form."""
    return f"{count} {word}s"
''',
    "tests/__init__.py": "",
    "tests/test_basket.py": """import unittest

from shop.basket import total


class TestTotal(unittest.TestCase):
    def test_without_a_discount_it_is_the_sum(self):
        self.assertEqual(total([10, 20]), 30)

    def test_a_discount_makes_it_cheaper(self):
        self.assertEqual(total([100], discount_percent=25), 75)
""",
    "tests/test_stock.py": """import unittest

from shop.stock import Stock


class TestStock(unittest.TestCase):
    def test_what_is_added_is_counted(self):
        stock = Stock({})
        stock.add("tea", 3)
        self.assertEqual(stock.count("tea"), 3)

    def test_two_shops_share_nothing(self):
        Stock().add("tea", 3)
        self.assertEqual(Stock().count("tea"), 0)
""",
    "tests/test_text.py": """import unittest

from shop.text import plural


class TestPlural(unittest.TestCase):
    def test_many(self):
        self.assertEqual(plural(3, "cup"), "3 cups")

    def test_one(self):
        self.assertEqual(plural(1, "cup"), "1 cup")
""",
}

TEST_COMMAND: Final = ("python3", "-m", "unittest", "-q")
"""The name of a test module comes after it; each task has one of its own."""

STOCK_PATCH: Final = """--- a/shop/stock.py
+++ b/shop/stock.py
@@ -4,7 +4,7 @@
 class Stock:
     \"\"\"Counts by article.\"\"\"

-    def __init__(self, counts={}):
-        self._counts = counts
+    def __init__(self, counts=None):
+        self._counts = {} if counts is None else counts

     def add(self, article, count):
"""

TEXT_SCRIPT: Final = """Write `1 cup`, not `1 cups`.

script:
say reading shop/text.py
sleep 300ms
run sed -i 's/return .*/return f"{count} {word}" if count == 1 else f"{count} {word}s"/' shop/text.py
commit Write one cup, not one cups
"""

BASKET_COMMAND: Final = (
    "echo 'the discount is added where it should be taken off'; sleep 0.4; "
    "sed -i 's/100 + discount_percent/100 - discount_percent/' shop/basket.py"
)
