<?php
$route = 'account';
require __DIR__ . "/../../served.php";
